"""Allure's report and its quality gate, by Allure's own generator, if that is there.

What makes a report of results is its configuration, ``allurerc.json`` in the run's folder: the order of the tree, the
categories, and the gate. Allure 3 takes categories from nowhere else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness import paths
from harness.errors import SvmconfError
from harness.ledger import Ledger, Verdict

CONFIG = "allurerc.json"
RESULTS, REPORT = "allure-results", "allure-report"
HISTORY = "allure-history.jsonl"
"""What the runs beside each other in a folder leave for the next."""

_SCRIPT = paths.ROOT / "reports" / "allure" / "report.mjs"
_HISTORY = 50  # runs that its history goes back
_CATEGORIES: list[dict[str, Any]] = [
    {"name": "Known deviations of the engine", "messageRegex": f"^{Verdict.EXPECTED_FAIL}: "},
    {"name": "The requirement does not hold", "messageRegex": f"^{Verdict.FAIL}: "},
    {"name": "Not run: a precondition was not reached", "messageRegex": f"^{Verdict.NOT_RUN}: "},
    {"name": "The harness or the engine broke", "messageRegex": f"^{Verdict.ERROR}: "},
    {"name": "Something is missing here that the case needs", "messageRegex": f"^{Verdict.SKIP}: "},
]


def configuration(ledger: Ledger) -> dict[str, Any]:
    """What Allure needs to know of a run.

    The gate is that of the ledger: as many results as cases were planned, and none of them failed or broken. A known
    deviation is *skipped*, in a category of its own: neither a pass nor a failure.
    """
    header = ledger.header
    awesome = {"singleFile": True, "groupBy": ["epic", "feature", "story"]}
    return {
        "name": f"{header.hypervisor} on {header.on}",
        "output": f"./{REPORT}",
        "historyLimit": _HISTORY,
        "categories": _CATEGORIES,
        "qualityGate": {"rules": [{"id": "svmconf", "maxFailures": 0, "minTestsCount": len(ledger.planned)}]},
        "plugins": {"awesome": {"options": awesome}},
    }


def write_configuration(ledger: Ledger, folder: Path) -> None:
    """Write it into a run's folder."""
    (folder / CONFIG).write_text(json.dumps(configuration(ledger), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Generated:
    """A report that was made; ``gate`` is what its quality gate has against the run, nothing when it lets it pass."""

    page: Path
    gate: tuple[str, ...]


def generator() -> Path | None:
    """The core of Allure's report generator (the npm package ``allure``), where ./svmconf has put it."""
    core = paths.TOOLS / "node_modules" / "@allurereport" / "core" / "dist" / "index.js"
    return core if core.exists() and shutil.which("node") else None


def generate(folder: Path, history: Path | None = None) -> Generated:
    """Make the report, one HTML file, of the results in a run's folder; raise :class:`SvmconfError` when it cannot be.

    ``history`` is a file (JSON lines) that earlier runs left; this one is added to it.
    """
    core = generator()
    if core is None:
        raise SvmconfError("Allure's generator is not here", "apt-get install nodejs npm, then ./svmconf report again")
    shutil.rmtree(folder / REPORT, ignore_errors=True)
    if history is None:
        done = _allure(core, folder)
    else:
        history = history.resolve()
        history.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{history}.lock"):  # it is read, then written anew
            _with_history(folder, history)
            done = _allure(core, folder)
    page = folder / REPORT / "index.html"
    said = (done.stderr or done.stdout).strip().splitlines()
    if done.returncode or not page.is_file():
        raise SvmconfError(f"Allure's generator failed: {said[-1] if said else f'status {done.returncode}'}")
    rules = json.loads(done.stdout.strip().splitlines()[-1])
    return Generated(page, tuple(rule["message"] for rule in rules if not rule["success"]))


def _with_history(folder: Path, history: Path) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | {"historyPath": str(history)}
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _allure(core: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", _SCRIPT, core, folder / CONFIG, folder / RESULTS],
        cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
