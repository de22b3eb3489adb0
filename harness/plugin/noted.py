"""What the plugin notes down: of a session, of a test item, and where."""

from __future__ import annotations

import os

import pytest

from harness import ledger
from harness.run import Run, Setting

RUN = pytest.StashKey[Run]()
EVIDENCE = pytest.StashKey[str]()
JUDGES = pytest.StashKey[list[str]]()
PROGRAM = pytest.StashKey[str]()
EXPECTED = pytest.StashKey[str]()
SEED = pytest.StashKey[int]()
WRITTEN = pytest.StashKey[set[str]]()
ELSEWHERE = pytest.StashKey[list[str]]()
WRITER = pytest.StashKey[ledger.Writer]()


def setting_of(item: pytest.Item) -> Setting | None:
    """The setting of a case; ``None`` of a test that is none."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return next((value for value in parameters.values() if isinstance(value, Setting)), None)


def requirements_of(item: pytest.Item) -> list[str]:
    """The ids of the requirements that a case names."""
    return list(dict.fromkeys(name for mark in item.iter_markers("requirement") for name in mark.args))


def writer(config: pytest.Config) -> ledger.Writer:
    """This worker's part of the ledger."""
    if WRITER not in config.stash:
        run = config.stash[RUN]
        run.make_folder()
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        config.stash[WRITER] = ledger.Writer(run.folder / f"ledger-{worker}.jsonl")
    return config.stash[WRITER]
