"""Events that a hypervisor must not inject yet: VMRUN delivers them whatever the guest holds back (15.20)."""

from conformance.guest_view.test_hiding import witness
from conformance.resumed import resumed
from conformance.virtual_interrupts.test_held_back import INTERRUPTED
from harness.cases import NotRun, boots, requirement
from harness.machine.vmcb import Vmcb
from harness.model.registers import Event, Rflags
from harness.observation import Observation

TYPE = 7 << 8
VECTOR = 0xFF


def held_back(vmcb: Vmcb) -> str:
    """Why the guest does not take the interrupt that EVENTINJ holds; empty if it does."""
    priority, tpr = (vmcb.eventinj & VECTOR) >> 4, vmcb.vintr & 0xF
    reasons = {
        "IF is 0": not vmcb.rflags & Rflags.IF,
        "it stands in an interrupt shadow": vmcb.interrupt_state & 1,
        f"V_TPR is {tpr}": priority <= tpr,
    }
    return ", ".join(why for why, applies in reasons.items() if applies)


@requirement("SVM-15.20-028")
@boots(INTERRUPTED, guest_runs=True)
def test_no_interrupt_is_injected_that_the_guest_holds_back(seen: Observation) -> None:
    """An interrupt that was not taken before is injected only where IF, V_TPR and the interrupt shadow let it in."""
    injected = [
        it
        for it in resumed(seen)
        if it.then.eventinj & Event.V and not it.then.eventinj & TYPE and not it.left.exitintinfo & Event.V
    ]
    if not injected:
        raise NotRun("no VMRUN that injects an interrupt was watched")
    for it in injected:
        why = held_back(it.then)
        assert not why, f"interrupt {it.then.eventinj & VECTOR:#x} at {it.then.rip:#x}: {why}"


@requirement("SVM-15.20-029")
@boots(INTERRUPTED, guest_runs=True)
def test_nmis_come_one_after_the_other(seen: Observation) -> None:
    """A second NMI waits until the handler of the first has executed IRET, and comes then."""
    first, nested, after = (it.value for it in witness(seen, "NMI", "NESTED", "AFTER"))
    assert (first, nested, after) == (1, 1, 2), f"{nested} taken before the IRET, {after} after it"
