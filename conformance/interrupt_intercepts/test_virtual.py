"""Virtual interrupts and their intercept (15.13.5)."""

from conformance.event_injection.guests import NOTHING, OWN_CODE, taken
from conformance.intercepts.tried import GOES_ON
from conformance.interrupt_intercepts.guests import BEHIND_STI, MASKED, STI, VECTOR, pending
from conformance.vmrun.guests import each_ends
from harness.cases import executes, requirement
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1, Vintr

GUESTS = {
    "intercepted": pending(),
    "INTR intercepted": pending(intercepts=Misc1.INTR),
    "IF clear": pending(flags=0),
    "IF set later": pending(STI, flags=0),
    "V_TPR above it": pending(vintr=MASKED | 9),
    "V_TPR above it, ignored": pending(vintr=MASKED | Vintr.V_IGN_TPR | 9),
    "in a shadow": pending(f"nop\n{OWN_CODE}", interrupt_state=1),
}
PROGRAM = {"": vmruns(GUESTS)}


@requirement("SVM-15.13.1-001")
@executes(PROGRAM)
def test_virtual_interrupt_is_no_physical_one(ran: Seen) -> None:
    """A virtual interrupt does not look at the intercept of INTR: the guest's handler runs."""
    assert taken(ran, "INTR intercepted") == VECTOR


@requirement("SVM-15.13.5-003")
@executes(PROGRAM)
def test_virtual_interrupt_exits(ran: Seen) -> None:
    """With its intercept it exits with 64h, before the handler."""
    each_ends(ran, {"intercepted": exits.VINTR})
    seen = ran.vmrun("intercepted")
    assert seen.after.rip == seen.before.rip


@requirement("SVM-15.13.5-001")
@executes(PROGRAM)
def test_v_irq_stays_set(ran: Seen) -> None:
    """After the exit V_IRQ is 1 still; after a guest has taken it, 0."""
    each_ends(ran, {"intercepted": exits.VINTR})
    assert [ran.vmrun(name).after.vintr & Vintr.V_IRQ for name in ("intercepted", "INTR intercepted")] == [
        Vintr.V_IRQ,
        0,
    ]


@requirement("SVM-15.13.5-002")
@executes(PROGRAM)
def test_exit_comes_when_the_virtual_interrupt_would(ran: Seen) -> None:
    """Not with IF=0 nor below V_TPR, unless that is ignored, and after STI one instruction later."""
    each_ends(ran, dict.fromkeys(("IF clear", "V_TPR above it"), GOES_ON))
    each_ends(ran, dict.fromkeys(("V_TPR above it, ignored", "IF set later"), exits.VINTR))
    later = [ran.vmrun(name) for name in ("V_TPR above it, ignored", "IF set later")]
    assert [it.after.rip - it.before.rip for it in later] == [0, BEHIND_STI]
    assert [taken(ran, name) for name in ("IF clear", "V_TPR above it")] == [NOTHING] * 2


@requirement("SVM-15.13.5-002")
@executes(PROGRAM)
def test_virtual_interrupt_waits_for_the_shadow(ran: Seen) -> None:
    """In an interrupt shadow the exit comes behind the guest's first instruction."""
    each_ends(ran, {"in a shadow": exits.VINTR})
    assert ran.vmrun("in a shadow").after.rip == ran.vmrun("in a shadow").before.rip + 1
