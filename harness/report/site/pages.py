"""Writes the site's pages: one environment for all templates, and what every page needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from harness.ledger import Header, Verdict
from harness.report.matrix import WORST_FIRST
from harness.report.matrix_page import LEGEND, MARKS
from harness.run import slug


class Pages:
    """Renders templates into a folder."""

    def __init__(self, folder: Path, header: Header, engines: Mapping[str, str]) -> None:
        """``engines`` has for each engine the name of its page."""
        self._folder = folder
        self._environment = Environment(
            loader=ChoiceLoader([PackageLoader("harness.report.site"), PackageLoader("harness.report")]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            header=header, marks=MARKS, legend=LEGEND, worst_first=WORST_FIRST, verdicts=Verdict, engine_pages=engines
        )
        self._environment.filters.update(slug=slug, summed=summed)

    def write(self, here: str, template: str, **context: Any) -> None:
        """Write one page; ``here`` is its path in the folder, and ``root`` leads back from there."""
        root = "../" * here.count("/")
        self.text(here, self._environment.get_template(template).render(root=root, here=here, **context))

    def text(self, place: str, text: str) -> None:
        """Write a file."""
        path = self._folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")

    def copy(self, name: str) -> None:
        """Write one of our own style sheets or scripts."""
        source, _, _ = self._environment.loader.get_source(self._environment, name)  # type: ignore[union-attr]
        self.text(name, source)


def summed(counts: Mapping[Verdict, int]) -> str:
    """``2 fail, 12 pass``, for a title."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in WORST_FIRST if counts.get(verdict)) or "nothing ran"
