"""The four top entries of a guest's PAE tables: with nested paging they are read by table walks alone (15.25.10)."""

from conformance.intercepts.tried import PF, Changes, Tries, tried
from conformance.nested_paging.spaces import RSV
from conformance.vmrun.test_paging import ENTRIES, pae
from harness.cases import Cpus, executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model.exits import VMMCALL

LAST_GIB = 3 << 30
"""The linear address that the entry in question translates."""

TABLES = {name: pae(number, bits) for number, (name, bits) in enumerate(ENTRIES.items())}
ILLEGAL = [name for name in TABLES if "reserved" in name]


def tries(insn: str, *, loaded: bool) -> Tries:
    """A guest for each entry that executes this, with those tables in CR3, or with their address in ECX."""
    where = "cr3" if loaded else "rcx"
    having: Changes = {"nested": True, "tlb_control": 1}
    return Tries(
        {
            name: tried(insn, mode=Mode.PAE, having=it.memory, **having | {where: it.vmcb.cr3})
            for name, it in TABLES.items()
        }
    )


MOVES, RUNS, USES = (tries("mov cr3, ecx", loaded=False), tries("nop", loaded=True),
                     tries(f"mov al, [{LAST_GIB:#x}]", loaded=True))  # fmt: skip


@requirement("SVM-15.25.10-001")
@executes(MOVES.programs, cpus=Cpus.WITH_NPT)
def test_mov_to_cr3_does_not_read_the_entries(ran: Seen) -> None:
    """MOV to CR3 of tables with an illegal entry raises no #GP in a guest with nested paging."""
    MOVES.come_to(ran, dict.fromkeys(TABLES, VMMCALL))


@requirement("SVM-15.25.10-002")
@executes(RUNS.programs, cpus=Cpus.WITH_NPT)
def test_vmrun_does_not_read_the_entries(ran: Seen) -> None:
    """VMRUN takes a guest with nested paging whose tables have an illegal entry."""
    RUNS.come_to(ran, dict.fromkeys(TABLES, VMMCALL))


@requirement("SVM-15.25.10-003")
@executes(USES.programs, cpus=Cpus.WITH_NPT)
def test_illegal_entry_faults_when_it_is_used(ran: Seen) -> None:
    """An access that an illegal entry translates raises #PF with RSV, and one that a legal entry does goes through."""
    USES.come_to(ran, {name: PF if name in ILLEGAL else VMMCALL for name in TABLES})
    assert {name: ran.vmrun(name).info1 & RSV for name in ILLEGAL} == dict.fromkeys(ILLEGAL, RSV)
