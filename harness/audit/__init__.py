"""The audit: a case that nothing can turn red tests nothing.

Recorded observations are replayed with one thing changed at a time (:mod:`harness.audit.changes`), until the case that
judged them turns red. A case that survives every change is listed; ``conformance/audit.toml`` may give a reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import paths, suite
from harness.audit.changes import changes
from harness.cases import Absent, NotRun
from harness.errors import SvmconfError
from harness.ledger import Ledger, Verdict

REASONS = paths.ROOT / "conformance" / "audit.toml"
"""Why a case may survive: ``"folder/test_file::test_name" = "reason"``."""

_OBSERVATIONS = 3  # a case that none of so many observations lets turn red is not saved by a fourth


@dataclass(frozen=True)
class Audited:
    """What came of one case: how many changes were tried, and the one that turned it red, if any did.

    ``observations`` is how many recorded ones were replayed; without any nothing can be said.
    """

    case: str
    observations: int
    tried: int
    turned_by: str = ""
    reason: str = ""

    @property
    def good(self) -> bool:
        """Whether something turns it red, or there is a reason why nothing does."""
        return bool(self.turned_by or self.reason)


def audit(ledger: Ledger, only: str = "", reasons: dict[str, str] | None = None) -> Iterator[Audited]:
    """Audit each case whose name has ``only`` in it, with the observations that it passed in this ledger."""
    reasons = load_reasons() if reasons is None else reasons
    known = {name: case for mark in ("boots", "executes") for name, case, _ in suite.cases(mark)}
    if unknown := sorted(set(reasons) - set(known)):
        raise SvmconfError(f"{REASONS.name} names a case that does not exist: {unknown[0]}")
    passed: dict[str, list[Any]] = {}
    red: set[str] = set()
    for entry in ledger.entries:
        evidence = ledger.evidence.get(entry.evidence)
        if entry.verdict is Verdict.PASS and evidence is not None:
            passed.setdefault(place(entry.function), []).append(evidence.observation or evidence.seen)
        elif entry.verdict in (Verdict.FAIL, Verdict.EXPECTED_FAIL):
            red.add(place(entry.function))
    for name, case in sorted(known.items()):
        if only not in name:
            continue
        if name in red:
            yield Audited(name, 0, 0, "what an engine really did")
        else:
            yield _audit(name, case, passed.get(name, []), reasons.get(name, ""))


def place(function: str) -> str:
    """A case's place in the suite, from the id that pytest knows it by."""
    return function.removeprefix("conformance/").replace(".py::", "::")


def load_reasons(path: Path = REASONS) -> dict[str, str]:
    """The reasons written down."""
    return {str(k): str(v) for k, v in tomllib.loads(path.read_text()).items()} if path.is_file() else {}


def _audit(name: str, case: Callable[[Any], None], observations: list[Any], reason: str) -> Audited:
    tried = 0
    for observation in observations[:_OBSERVATIONS]:
        for what, changed in changes(observation):
            tried += 1
            if _red(case, changed):
                return Audited(name, len(observations), tried, what, reason)
    return Audited(name, len(observations), tried, "", reason)


def _red(case: Callable[[Any], None], observation: Any) -> bool:
    try:
        case(observation)
    except AssertionError:
        return True
    except (NotRun, Absent):
        return False
    except Exception:  # a change that makes no sense breaks the case; that is no verdict
        return False
    return False
