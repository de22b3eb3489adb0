"""A page that a guest gives back is taken out of its tables: how the hypervisor flushes it (15.16.1, 15.16.2)."""

from conformance.resumed import Resumed, resumed
from harness.boot import Boot, Insn
from harness.cases import Cpus, NotRun, boots, requirement
from harness.model import exits
from harness.observation import Observation

NESTED = Boot(guest="balloon", vmruns=40)
SHADOW = Boot(guest="balloon", words=("npt=off",), vmruns=40)

GIVE_BACK = 9
"""The hypercall, in EAX."""
GONE = 0x6_0000
"""Guest-physical: a page that the guest had written to, gives back, and does not touch again."""
ALL, GUEST = 1, 3


def given_back(seen: Observation) -> list[Resumed]:
    """The guest's hypercalls that took a page from it, each with the VMRUN that follows."""
    calls = [
        it
        for it in resumed(seen)
        if it.left.exitcode == exits.VMMCALL and it.left.rax & 0xFFFF_FFFF == GIVE_BACK and it.then.rax == 0
    ]
    if not calls:
        raise NotRun("no page was given back at a VMRUN that was watched")
    return calls


def taken_out(seen: Observation) -> list[Resumed]:
    """The same, where the nested tables really changed: at the end they lack the page that was not touched again."""
    calls = given_back(seen)
    if not seen.mappings or any(it.guest <= GONE < it.guest + it.size for it in seen.mappings):
        raise NotRun("no page was taken out of the nested tables")
    return calls


@requirement("SVM-15.16.1-009")
@boots(NESTED, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_a_page_taken_away_needs_a_flush(seen: Observation) -> None:
    """After an entry of the nested tables was cleared VMRUN has TLB_CONTROL 1 or 3, or another ASID."""
    for it in taken_out(seen):
        flushed = it.then.tlb_control in (ALL, GUEST) or it.then.guest_asid != it.left.guest_asid
        assert flushed, f"TLB_CONTROL is {it.then.tlb_control} at {it.event.where}, with the same ASID"


@requirement("SVM-15.16.2-002")
@boots(NESTED, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_invlpga_flushes_no_nested_translation(seen: Observation) -> None:
    """No INVLPGA is executed for a page that was taken out of nested tables."""
    for it in taken_out(seen):
        used = [f"{hex(event.before['rax'])} at {event.where}" for event in it.between if event.insn is Insn.INVLPGA]
        assert not used, f"INVLPGA of {used}"


@requirement("SVM-15.16.1-015")
@boots(SHADOW, guest_runs=True)
def test_shadow_tables_need_one_of_the_guests_translations(seen: Observation) -> None:
    """A change of shadow tables is flushed by TLB_CONTROL, INVLPGA or another ASID; no flush of the host will do."""
    for it in given_back(seen):
        flushed = it.flushed or any(event.insn is Insn.INVLPGA for event in it.between)
        assert flushed, f"TLB_CONTROL is {it.then.tlb_control} at {it.event.where}, with the same ASID, and no INVLPGA"
