"""The audit finds cases that cannot fail, and leaves those alone that can."""

from __future__ import annotations

import pytest

from harness import suite
from harness.audit import audit
from harness.audit.changes import changes
from harness.boot import Boot, Insn
from harness.errors import SvmconfError
from harness.ledger import EngineLine, Entry, Evidence, Header, Ledger, Verdict
from harness.machine.ending import Ending, How
from harness.observation import Event, Observation, Tried

SEEN = Observation(
    engine="e", engine_version="1", cpu="EPYC", boot=Boot(), command=[], image_sha256="", outcome="guest-finished",
    ended=Ending(how=How.EXITED, code=0x10),
    trace=[Event(insn=Insn.VMRUN, cpl=0, before={"rax": 0x1000, "rcx": 0}, vmcb=bytes(0x1000))],
    witness={"CR0": Tried(vector=None, error=0, value=0x11)},
)  # fmt: skip


def of(case: str, verdict: Verdict = Verdict.PASS) -> Ledger:
    entry = Entry(
        case=f"{case}[e]", function=case, claim="", source="", requirements=[], engine="e", engine_version="1",
        cpu="EPYC", verdict=verdict, started=0, seconds=0, evidence="it",
    )  # fmt: skip
    header = Header(
        run="r", started="", command=[], hypervisor="h", engines=[EngineLine(name="e", version="1", cpus=[])]
    )
    return Ledger(
        header=header, planned=[entry.case], evidence={"it": Evidence(id="it", observation=SEEN)}, entries=[entry]
    )


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> None:
    def sound(seen: Observation) -> None:
        assert seen.witness["CR0"].value & 1

    def hollow(seen: Observation) -> None:
        assert seen.engine == "e"

    def careless(seen: Observation) -> None:
        raise KeyError("a bug is no verdict")

    found = [("a::sound", sound, None), ("a::hollow", hollow, None), ("a::careless", careless, None)]
    monkeypatch.setattr(suite, "cases", lambda mark: iter(found if mark == "boots" else ()))


@pytest.mark.usefixtures("cases")
def test_a_case_that_can_turn_red_is_good() -> None:
    (found,) = audit(of("conformance/a.py::sound"), "sound", {})
    assert found.good and found.turned_by == "witness CR0: value bit 0"


@pytest.mark.usefixtures("cases")
@pytest.mark.parametrize("case", ["hollow", "careless"])
def test_a_case_that_cannot_is_listed(case: str) -> None:
    (found,) = audit(of(f"conformance/a.py::{case}"), case, {})
    assert not found.good and found.tried > 100


@pytest.mark.usefixtures("cases")
def test_a_written_reason_is_accepted_and_one_for_no_case_is_not() -> None:
    (found,) = audit(of("conformance/a.py::hollow"), "hollow", {"a::hollow": "because"})
    assert found.good and found.reason == "because"
    with pytest.raises(SvmconfError, match="does not exist: a::gone"):
        list(audit(of("conformance/a.py::hollow"), "", {"a::gone": "because"}))


@pytest.mark.usefixtures("cases")
def test_a_real_deviation_has_turned_it_red_already() -> None:
    (found,) = audit(of("conformance/a.py::hollow", Verdict.EXPECTED_FAIL), "hollow", {})
    assert found.good and "really did" in found.turned_by


@pytest.mark.usefixtures("cases")
def test_a_case_without_observation_is_listed() -> None:
    (found,) = audit(of("conformance/a.py::sound"), "hollow", {})
    assert not found.good and found.observations == 0


def test_every_change_differs_from_the_original() -> None:
    differing = [what for what, changed in changes(SEEN) if changed == SEEN]
    assert differing == ["nothing guarded", "ram_size 0", "no tables"]  # what it had none of
