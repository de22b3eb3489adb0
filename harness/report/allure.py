"""Allure's results, written from the ledger with Allure's own library.

Epic, feature and story are the manual's chapter, section and requirement. Engine, version, CPU model and variant are
parameters, so the same case on two engines is two rows with a history of its own.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path
from typing import Any

from allure_commons.logger import AllureFileLogger
from allure_commons.model2 import Attachment, Label, Parameter, Status, StatusDetails, TestResult

from harness.ledger import Entry, Ledger, Verdict
from harness.report.evidence import attachments
from harness.spec import catalogue

_STATUS = {
    Verdict.PASS: Status.PASSED,
    Verdict.FAIL: Status.FAILED,
    Verdict.SKIP: Status.SKIPPED,
    Verdict.EXPECTED_FAIL: Status.SKIPPED,
    Verdict.ERROR: Status.BROKEN,
    Verdict.NOT_RUN: Status.BROKEN,
}
_NAMESPACE = uuid.UUID("8e4f2f3a-6f0e-4a2c-9a53-5b1f6c1f2f10")


def write_results(ledger: Ledger, folder: Path, run: Path) -> None:
    """Write one result an entry, with its attachments, and the run's environment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    logger: Any = AllureFileLogger(str(folder))  # type: ignore[no-untyped-call]
    for entry in ledger.entries:
        logger.report_result(_result(entry, ledger, folder))
    header = ledger.header
    environment = {
        "hypervisor": header.hypervisor,
        "defect": header.defect or "none",
        **{engine.name: engine.version for engine in header.engines},
        "svmconf": f"{header.svmconf} {header.git}",
        "python": header.python,
        "machine": header.machine,
    }
    (folder / "environment.properties").write_text("".join(f"{k}={v}\n" for k, v in environment.items()))


def _result(entry: Entry, ledger: Ledger, folder: Path) -> TestResult:
    start = round(entry.started * 1000)
    parameters = {"engine": entry.engine, "version": entry.engine_version, "cpu": entry.cpu, "variant": entry.variant}
    # A version is not part of a case's identity over time: its history goes on when the engine is updated.
    identity = f"{entry.function} {entry.engine} {entry.cpu} {entry.variant}"
    return TestResult(
        uuid=str(uuid.uuid5(_NAMESPACE, f"{ledger.header.run} {entry.case}")),
        name=f"{entry.claim or entry.case} [{entry.setting}]",
        fullName=entry.function.replace("/", ".").replace("::", "#"),
        historyId=hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest(),
        testCaseId=hashlib.md5(entry.function.encode(), usedforsecurity=False).hexdigest(),
        status=_STATUS[entry.verdict],
        statusDetails=StatusDetails(message=f"{entry.verdict}: {entry.reason}") if entry.reason else None,
        description=_description(entry),
        labels=_labels(entry),
        parameters=[
            Parameter(name=name, value=value, excluded=True if name == "version" else None)
            for name, value in parameters.items()
            if value
        ],
        attachments=[
            _attach(entry, ledger, folder, n, name, text) for n, (name, text) in enumerate(attachments(ledger, entry))
        ],
        start=start,
        stop=start + round(entry.seconds * 1000),
    )


def _attach(entry: Entry, ledger: Ledger, folder: Path, number: int, name: str, text: str) -> Attachment:
    source = f"{uuid.uuid5(_NAMESPACE, f'{ledger.header.run} {entry.case} {number}')}-attachment.txt"
    (folder / source).write_text(text, encoding="utf-8", errors="backslashreplace")
    return Attachment(name=name, source=source, type="text/plain")


def _labels(entry: Entry) -> list[Label]:
    known = catalogue.load()
    labels = [Label(name="parentSuite", value=entry.engine), Label(name="suite", value=entry.source.partition(":")[0])]
    checked = [known[name] for name in entry.requirements if name in known]
    for requirement in checked:
        # Allure crosses all epics with all features and stories: only those of the first one's section go together.
        if requirement.heading == checked[0].heading:
            labels += [
                Label(name="epic", value=requirement.chapter),
                Label(name="feature", value=requirement.heading),
                Label(name="story", value=f"{requirement.id} {requirement.statement}"),
            ]
        labels += [
            Label(name="tag", value=requirement.id),
            Label(name="severity", value={"must": "critical", "should": "normal"}.get(requirement.priority, "minor")),
        ]
    return list({(label.name, label.value): label for label in labels}.values())


def _description(entry: Entry) -> str:
    known = catalogue.load()
    stated = [f"* **{r}**: {known[r].statement}" for r in entry.requirements if r in known]
    return "\n".join([entry.claim, "", *stated, "", f"Source: `{entry.source}`"])
