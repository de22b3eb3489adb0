"""Judging: turns what pytest says of a case into a verdict, and writes it down at once."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness import ledger
from harness.cases import NotRun
from harness.plugin.noted import EVIDENCE, EXPECTED, JUDGES, PROGRAM, RUN, requirements_of, setting_of, writer
from harness.run import Setting
from harness.spec import expectations


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn pytest's outcome into a verdict, and write it down at once."""
    report = yield
    setting = setting_of(item)
    if setting is None or not (call.when == "call" or (call.when == "setup" and not report.passed)):
        return report
    verdict, reason = _verdict(report, call)
    expected = call.excinfo if verdict is ledger.Verdict.EXPECTED_FAIL else None
    found = _first_words(expected.value) if expected else ""
    writer(item.config).write(_entry(item, setting, verdict, reason, call).model_copy(update={"found": found}))
    report.user_properties.append(("verdict", verdict.value))
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Show a case that was not run as what it is: pytest knows only failures and errors."""
    if ("verdict", ledger.Verdict.NOT_RUN.value) in getattr(report, "user_properties", ()):
        return "not run", "n", "NOT RUN"
    return None


def _verdict(report: pytest.TestReport, call: pytest.CallInfo[None]) -> tuple[ledger.Verdict, str]:
    if hasattr(report, "wasxfail"):
        said = f"{expectations.NOT_THIS_TIME}: " if report.passed else ""
        return ledger.Verdict.EXPECTED_FAIL, f"{said}{report.wasxfail}"
    if report.passed:
        return ledger.Verdict.PASS, ""
    if report.skipped:
        where = report.longrepr
        return ledger.Verdict.SKIP, str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")
    if call.excinfo is None:
        return ledger.Verdict.FAIL, f"{expectations.MENDED}: {report.longrepr}"
    error = call.excinfo.value
    if isinstance(error, NotRun):
        return ledger.Verdict.NOT_RUN, str(error)
    if isinstance(error, AssertionError):
        return ledger.Verdict.FAIL, str(error).strip() or "assertion failed"
    return ledger.Verdict.ERROR, f"{type(error).__name__}: {error}"


def _first_words(error: BaseException) -> str:
    """What it says, without what pytest tells of the values."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _entry(
    item: pytest.Item, setting: Setting, verdict: ledger.Verdict, reason: str, call: pytest.CallInfo[None]
) -> ledger.Entry:
    run = item.config.stash[RUN]
    function = getattr(item, "function", None)
    path, line, _ = item.location
    return ledger.Entry(
        case=item.nodeid,
        function=item.nodeid.partition("[")[0],
        claim=next(iter((getattr(function, "__doc__", None) or "").strip().splitlines()), ""),
        source=f"{path}:{(line or 0) + 1}",
        requirements=item.stash.get(JUDGES, None) or requirements_of(item),
        engine=setting.engine,
        engine_version=run.engines[setting.engine].version,
        cpu=setting.cpu,
        variant=setting.variant_name,
        verdict=verdict,
        reason=reason,
        started=call.start,
        seconds=call.duration,
        expectation=item.stash.get(EXPECTED, ""),
        evidence=(evidence := item.stash.get(EVIDENCE, "")),
        program=item.stash.get(PROGRAM, ""),
        artefacts=run.artefacts(evidence) if evidence else [],
    )
