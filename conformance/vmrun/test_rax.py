"""What rAX must hold at VMRUN: the physical address of a 4-KiB page, no more and no less."""

from conformance.vmrun.programs import FIRST, GP, HIGH_BITS, VMCB, attempts, physical_limit, real_mode_guest
from harness.boot import Insn
from harness.cases import NotRun, boots, executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import cpuid, execute
from harness.observation import Observation

PAGE = 0x1000
VMEXIT_VMMCALL = 0x81
UNALIGNED = tuple(VMCB + (1 << bit) for bit in range(12))
BEYOND = (*HIGH_BITS, VMCB | 1 << 52, VMCB | 1 << 63, 0xFFFF_8000_001A_5000)


def vmruns_with(*rax: int) -> dict[str, Program]:
    """One program: VMRUN at CPL 0 with EFER.SVME=1, and each of these in rAX."""
    first = attempts((), svme=True, cpl=0)
    tries = (execute(Insn.VMRUN, rax=value) for value in rax)
    return {"": first.model_copy(update={"steps": (*first.steps, *tries, cpuid(0x8000_0008))})}


def vmruns_of(seen: Observation) -> None:
    """The case is not run when there was no VMRUN."""
    if not seen.executed(Insn.VMRUN):
        raise NotRun(f"no VMRUN was executed: the machine {seen.ended}")


@requirement("SVM-15.5.1-001", "SVM-15.5.1-010", "SVM-15.5.1-019")
@executes({"": real_mode_guest()})
def test_address_of_a_page_is_accepted(ran: Seen) -> None:
    """VMRUN with the physical address of a 4-KiB page runs the guest that the page describes, and keeps rAX."""
    guest = ran.vmrun()
    assert guest.exit == VMEXIT_VMMCALL
    assert guest.step.registers["rax"] == VMCB


@requirement("SVM-15.5.1-004")
@executes(vmruns_with(*UNALIGNED))
def test_unaligned_address_is_gp(ran: Seen) -> None:
    """VMRUN with any of rAX[11:0] set raises #GP(0) at CPL 0."""
    seen = {hex(rax): (ran[n].vector, ran[n].error) for n, rax in enumerate(UNALIGNED, FIRST)}
    assert seen == {hex(rax): (GP, 0) for rax in UNALIGNED}


@requirement("SVM-15.5.1-005")
@executes(vmruns_with(*BEYOND))
def test_address_beyond_physical_memory_is_gp(ran: Seen) -> None:
    """VMRUN with rAX at or above the maximum physical address, such as a virtual address, raises #GP(0)."""
    limit = physical_limit(ran, FIRST + len(BEYOND))
    seen = {hex(rax): (ran[n].vector, ran[n].error) for n, rax in enumerate(BEYOND, FIRST) if rax >= limit}
    assert seen == {hex(rax): (GP, 0) for rax in BEYOND if rax >= limit}


@requirement("SVM-15.5.1-046")
@boots()
def test_hypervisor_passes_the_address_of_a_page(seen: Observation) -> None:
    """At each VMRUN the hypervisor's rAX is the physical address of a 4-KiB page in RAM."""
    vmruns_of(seen)
    for event in seen.executed(Insn.VMRUN):
        rax = event.before["rax"]
        assert rax % PAGE == 0, f"rAX={rax:#x} at {event.where} is not 4-KiB-aligned"
        assert rax <= seen.ram_size - PAGE, f"rAX={rax:#x} at {event.where} is no physical address in RAM"
