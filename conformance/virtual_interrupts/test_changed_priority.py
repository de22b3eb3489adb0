"""What MOV to CR8 changes for a virtual interrupt that waits (15.21.4)."""

from conformance.event_injection.guests import OWN_CODE
from conformance.intercepts.tried import GOES_ON
from conformance.interrupt_intercepts.guests import (
    MASKED,
    NOBODY,
    STI,
    TOUCHES,
    VECTOR,
    pending,
    progress,
    takers,
)
from conformance.vmrun.guests import each_ends
from harness.cases import executes, requirement
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1

IDLE = f"nop\nnop\n{OWN_CODE}"


def sets_tpr(value: int, then: str) -> str:
    """The guest sets its TPR, and goes on."""
    return f"mov r10d, {value}\nmov cr8, r10\n{then}"


BEHIND_CR8 = 6 + 4
"""Where the guest stands when it has set the TPR."""

LOWERED = {
    "": vmruns(
        {
            "first": TOUCHES,
            "lowered": pending(sets_tpr(4, IDLE), vintr=MASKED | 9),
            "not lowered enough": pending(sets_tpr(8, IDLE), vintr=MASKED | 9),
            "lowered, taken": pending(sets_tpr(4, IDLE), vintr=MASKED | 9, intercepts=Misc1.INTR),
        }
    )
}
RAISED = {"": vmruns({"raised": pending(sets_tpr(9, STI), flags=0), "not raised": pending(STI, flags=0)})}


@requirement("SVM-15.21.4-008")
@executes(LOWERED)
def test_lower_tpr_lets_it_in(ran: Seen) -> None:
    """It comes right behind the MOV to CR8 that lowers V_TPR below its priority, and not behind one that does not."""
    each_ends(ran, {"lowered": exits.VINTR, "not lowered enough": GOES_ON})
    assert progress(ran, "lowered") == BEHIND_CR8


@requirement("SVM-15.21.4-008")
@executes(LOWERED)
def test_lower_tpr_has_it_taken(ran: Seen) -> None:
    """Where it is not intercepted the handler runs, and returns to behind that MOV."""
    assert takers(ran, "lowered, taken") == (VECTOR, NOBODY)
    seen = ran.vmrun("lowered, taken")
    assert seen.step.registers["rcx"] - seen.before.rip == BEHIND_CR8


@requirement("SVM-15.21.4-009")
@executes(RAISED)
def test_higher_tpr_holds_it_back(ran: Seen) -> None:
    """After a MOV to CR8 of 9, STI lets no interrupt of priority 5 in, and without it it does."""
    each_ends(ran, {"raised": GOES_ON, "not raised": exits.VINTR})
