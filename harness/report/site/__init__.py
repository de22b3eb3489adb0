"""The site: a folder of pages about a ledger that open anywhere, also from a disk, and need nothing else.

All is a function of the ledger, of those before it, and of this checkout's catalogue, expectations and cases: made
twice it is the same, byte by byte.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.ledger import Header, Ledger
from harness.report import matrix, matrix_page, table
from harness.report.matrix import Column, Matrix
from harness.report.matrix_page import embedded
from harness.report.site import causes, history, tree, viewer
from harness.report.site.causes import Cause
from harness.report.site.exhibits import PAGES, Exhibits
from harness.report.site.history import History
from harness.report.site.pages import Pages
from harness.report.site.sheets import sheets
from harness.report.site.source import Sources
from harness.run import slug
from harness.spec import coverage

_ASSETS = ("site.css", "nav.css", "nav.js", "manual.js", "viewer.js")


def write(ledger: Ledger, folder: Path, past: History | None = None, whole: Matrix | None = None) -> None:
    """Write the site of a ledger into a folder, in the place of what was there.

    :param past: what the run is compared with, for trends and news.
    :param whole: the ledger's matrix with a row for each requirement, if it was made already.
    """
    shutil.rmtree(folder, ignore_errors=True)
    whole = whole or matrix.of(ledger, uncovered=True)
    _Site(ledger, folder, past or history.look_back(ledger), whole).write()


class _Site:
    def __init__(self, ledger: Ledger, folder: Path, past: History, whole: Matrix) -> None:
        self.ledger = ledger
        self.matrix = whole
        self.past = past
        self.sheets = sheets(self.matrix)
        self.exhibits = Exhibits(ledger)
        self.exhibits.choose(entry for sheet in self.sheets for entry in sheet.samples)
        self.others = causes.others(ledger.entries)
        self.sources = Sources(entry.source for entry in ledger.entries)
        self.engines = _names([column.name for column in self.matrix.columns])
        self.pages = Pages(folder, ledger.header, self.engines)

    def write(self) -> None:
        """Write all pages."""
        for name in _ASSETS:
            self.pages.copy(name)
        self._overview()
        self.pages.write("manual.html", "manual.html.j2", chapters=tree.chapters(self.sheets))
        self._requirements()
        self._matrix()
        for column in self.matrix.columns:
            self._engine(column)
        self.pages.write("trends.html", "trends.html.j2", past=self.past, columns=self.matrix.columns)
        self._evidence()
        for source in self.sources.all:
            self.pages.write(f"src/{source.page}.html", "source.html.j2", source=source)

    def _overview(self) -> None:
        requirements = [sheet.requirement for sheet in self.sheets]
        covered = {
            "all": [coverage.tally(requirements, "all")],
            "by priority": coverage.by_priority(requirements),
            "by kind": coverage.by_kind(requirements),
        }
        self.pages.write(
            "index.html", "overview.html.j2",
            ledger=self.ledger, matrix=self.matrix, past=self.past, news=history.News,
            covered=covered,
            bad=[sheet for sheet in self.sheets if not sheet.row.good],
            differing=sum(row.differs for row in self.matrix.rows),
        )  # fmt: skip

    def _requirements(self) -> None:
        ids = [sheet.requirement.id for sheet in self.sheets]
        neighbours = zip([None, *ids], [*ids[1:], None], strict=False)
        for sheet, (previous, following) in zip(self.sheets, neighbours, strict=True):
            self.pages.write(
                f"r/{sheet.requirement.id}.html", "requirement.html.j2",
                sheet=sheet, requirement=sheet.requirement, shows=sheet.shows(self.exhibits),
                link=self.sources.link, previous=previous, following=following,
            )  # fmt: skip

    def _matrix(self) -> None:
        context = matrix_page.context(self.matrix, "r/{}.html".format)
        self.pages.write("matrix.html", "site_matrix.html.j2", **context)
        self.pages.text("matrix.csv", table.csv_text(self.matrix))

    def _engine(self, column: Column) -> None:
        place = f"e/{self.engines[column.name]}"
        own = causes.causes(column, self.sheets)
        texts = [self._markdown(cause, column) for cause in own]
        self.pages.write(
            f"{place}.html", "engine.html.j2",
            column=column, causes=list(zip(own, texts, strict=True)),
            software=causes.causes(column, self.sheets, hypervisor=True),
            others=self.others.get(column.name, []),
            models=_models(self.ledger.header, column.name),
        )  # fmt: skip
        title = f"# Deviations of {column.name} from the AMD64 manual's SVM\n\n"
        self.pages.text(f"{place}.md", title + ("\n".join(texts) or "None were seen.\n"))

    def _markdown(self, cause: Cause, column: Column) -> str:
        return causes.markdown(cause, column, self.ledger.header, self.exhibits)

    def _evidence(self) -> None:
        boots = self.exhibits.boots
        for boot in boots:
            self.pages.write(f"x/{boot.page}.html", "evidence.html.j2", boot=boot)
            if boot.dumps:
                self.pages.text(f"vmcb/{boot.page}.js", viewer.script(boot))
        self.pages.write(
            "vmcb.html", "vmcb.html.j2",
            boots=[boot for boot in sorted(boots, key=lambda boot: boot.page) if boot.dumps],
            data=embedded(viewer.tables()), full=len(boots) == PAGES,
        )  # fmt: skip


def _names(engines: Sequence[str]) -> dict[str, str]:
    """A file name for each engine, no two the same."""
    names: dict[str, str] = {}
    for engine in engines:
        name = slug(engine)
        while name in names.values():
            name += "_"
        names[engine] = name
    return names


def _models(header: Header, engine: str) -> Mapping[str, str]:
    """What is known of an engine's CPU models, in words."""
    line = next((line for line in header.engines if line.name == engine), None)
    if line is None:
        return {}
    models = line.models
    return {
        name: ", ".join(
            (models[name].vendor, "SVM" if models[name].svm else "no SVM",
             "nested paging" if models[name].npt else "no nested paging")
        ) if name in models else "" for name in sorted({*line.cpus, *models})
    }  # fmt: skip
