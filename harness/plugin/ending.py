"""Ending: puts the workers' parts of the ledger together, writes the reports and shows the verdicts."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from harness import ledger
from harness.errors import SvmconfError
from harness.plugin.noted import RUN, WRITER

_LEDGER = pytest.StashKey[ledger.Ledger]()
_TROUBLE = pytest.StashKey[str]()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close this worker's part of the ledger, and what its engines keep running."""
    run = config.stash.get(RUN, None)
    if run is not None:
        run.close()
    writer = config.stash.get(WRITER, None)
    if writer is not None:
        writer.close()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In the controller: merge the ledger and write the reports. A case without a verdict makes the run fail."""
    config = session.config
    run = config.stash[RUN]
    if hasattr(config, "workerinput") or not run.folder.is_dir():
        return
    merged = ledger.gather(run.folder)
    if merged is None:
        with contextlib.suppress(OSError):
            run.folder.rmdir()  # made in advance, and no conformance case came
        return
    config.stash[_LEDGER] = merged
    if not merged.planned and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK  # a shard that is empty: the others have the cases
    if not merged.good and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    from harness.report import write_all

    try:
        ledger.settle(merged, run.folder)
        write_all(merged, run.folder)
    except (OSError, SvmconfError) as error:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        why = error.strerror if isinstance(error, OSError) else str(error)
        config.stash[_TROUBLE] = f"the reports could not be written to {run.folder}: {why}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the verdict table."""
    merged = config.stash.get(_LEDGER, None)
    if merged is not None:
        from harness.report import terminal

        terminal.show(merged)
        if _TROUBLE in config.stash:
            terminalreporter.write_line(config.stash[_TROUBLE], red=True)
