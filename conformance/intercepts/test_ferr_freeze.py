"""The intercept of FERR_FREEZE (15.14.2): a pending x87 exception where CR0.NE is 0."""

from conformance.exception_intercepts.guests import PAGED, X87
from conformance.intercepts.tried import GOES_ON, Tries, tried
from harness.cases import executes, requirement
from harness.lab.seen import Seen

FERR_FREEZE = 0x7E
FROZEN = Tries(
    {
        "pending": tried("fwait", FERR_FREEZE, before=X87, cr0=PAGED, endless=True),
        "none pending": tried("fwait", FERR_FREEZE, before="fninit", cr0=PAGED, endless=True),
    }
)


@requirement("SVM-15.14.2-001")
@executes(FROZEN.programs)
def test_freeze_exits(ran: Seen) -> None:
    """With CR0.NE=0 a pending x87 exception exits with 7Eh at the next instruction of the x87 that waits."""
    FROZEN.come_to(ran, {"none pending": GOES_ON})
    FROZEN.exit(ran, FERR_FREEZE, "pending")
