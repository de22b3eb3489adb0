"""INIT with GIF=0 (15.17)."""

from conformance.gif.init import init_source, is_gone, said
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm

HELD, TAKEN_LATE = "INIT is held", "INIT is not taken"
STEP = code(init_source(f'clgi\nsend_init\nsay "{HELD}"\nstgi\nwait_a_little\nsay "{TAKEN_LATE}"'), name="INIT")


@requirement("SVM-15.17-005")
@executes({"": Program(steps=(*enable_svm(), STEP))})
def test_init_is_held(ran: Seen) -> None:
    """With GIF=0 the processor goes on after an INIT, until STGI: then it is gone."""
    assert said(ran, HELD, TAKEN_LATE) == [HELD]
    is_gone(ran)
