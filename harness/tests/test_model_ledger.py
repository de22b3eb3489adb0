"""The model against what engines did: the VMRUNs that the probe executed in the newest good run on this machine."""

from __future__ import annotations

from collections import Counter

import pytest

from harness import ledger, model, paths
from harness.errors import SvmconfError
from harness.lab.seen import Seen
from harness.ledger import Evidence, Ledger, Verdict
from harness.model import Cpuid, Outcome
from harness.model.cpuid import LEAST, NP
from harness.model.explain.evidence import of_program

CASES = "conformance/vmrun/test_consistency.py"


def newest() -> Ledger:
    """The newest ledger in which the cases about consistency checks are as they must be."""
    for path in sorted(paths.OUT.glob("*/ledger.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found = ledger.read(path)
        except SvmconfError:  # one that an older version wrote, or that is being written
            continue
        ours = [entry for entry in found.entries if entry.case.startswith(CASES) and entry.evidence]
        if len(ours) > 10 and found.good:
            return found
    pytest.skip("no good run of the consistency checks in reports/out: svmconf run -k consistency")


def cpuid(recorded: Ledger, seen: Seen) -> Cpuid:
    """What the ledger knows of that processor: what programs asked, and what the engine says of its model."""
    steps = zip(seen.program.steps, seen.steps, strict=False)
    leaves = {
        step.registers["rax"]: (r["rax"], r["rbx"], r["rcx"], r["rdx"])
        for step, r in ((step, did.registers) for step, did in steps if step.code == b"\x0f\xa2")
    }
    models = next(engine.models for engine in recorded.header.engines if engine.name == seen.engine)
    npt = seen.cpu in models and models[seen.cpu].npt
    told = Cpuid(((NP.leaf, NP.register, npt << NP.bit, 1 << NP.bit), *Cpuid.of(leaves).known))
    return told.over(LEAST)


def compared(recorded: Ledger, evidence: Evidence) -> Counter[str]:
    """How many VMRUNs of a program did what the model says, by what it says; those that did not are ``other``."""
    counts: Counter[str] = Counter()
    seen = evidence.seen
    if seen is None:
        return counts
    for vmrun in of_program(seen, cpuid(recorded, seen)):
        said = model.judge(vmrun.state).outcome
        if vmrun.did is not None and said not in (Outcome.UNKNOWN, Outcome.UNDEFINED):
            counts[said.value if said is vmrun.did else "other"] += 1
    return counts


def test_engines_do_what_the_model_says_but_where_an_expectation_is_written() -> None:
    recorded = newest()
    verdicts: dict[str, set[Verdict]] = {}
    for entry in recorded.entries:
        verdicts.setdefault(entry.evidence, set()).add(entry.verdict)
    total: Counter[str] = Counter()
    for id in recorded.evidence:
        counts = compared(recorded, recorded.evidence[id])
        total += counts
        assert not counts["other"] or Verdict.EXPECTED_FAIL in verdicts[id], f"{recorded.header.run}: {id}"
    assert total["runs"] > 20 and total["VMEXIT_INVALID"] > 50, total
