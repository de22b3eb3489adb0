"""What a hypervisor writes about interrupts that its guest holds back: the interrupt shadow, V_TPR (15.21)."""

from conformance.resumed import resumed
from conformance.vmrun.test_vmcb import vmcbs
from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.observation import Observation

INTERRUPTED = Boot(guest="interrupts", vmruns=100)


@requirement("SVM-15.21.5-003")
@boots(INTERRUPTED, guest_runs=True)
def test_moving_on_ends_the_shadow(seen: Observation) -> None:
    """When RIP has moved past an instruction that exited in an interrupt shadow, INTERRUPT_SHADOW is 0."""
    shadowed = [it for it in resumed(seen) if it.left.interrupt_state & 1 and it.then.rip != it.left.rip]
    if not shadowed:
        raise NotRun("no instruction that was emulated stood in an interrupt shadow")
    for it in shadowed:
        assert it.then.interrupt_state & 1 == 0, f"in the shadow still, from {it.left.rip:#x} to {it.then.rip:#x}"


@requirement("SVM-15.21.2-007")
@boots(INTERRUPTED, guest_runs=True)
def test_v_tpr_has_four_bits(seen: Observation) -> None:
    """V_TPR[7:4] is 0 at every VMRUN, also of a guest that has raised its task priority."""
    raised = [(event, vmcb.vintr & 0xFF) for event, vmcb in vmcbs(seen) if vmcb.vintr & 0xF]
    if not raised:
        raise NotRun("no VMRUN of a guest with a task priority was watched")
    for event, tpr in raised:
        assert tpr <= 0xF, f"V_TPR is {tpr:#x} at {event.where}"
