"""GIF and RESET (15.17)."""

from conformance.gif.interrupts import VECTOR, source
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.machine.ending import How
from harness.machine.registers import EFER_SVME
from harness.msr import Msr

ENABLES = f"mov ecx, {Msr.EFER:#x}\nrdmsr\nor eax, {EFER_SVME:#x}\nwrmsr\n"
FIRST = code(source(f"{ENABLES}send_interrupt\nsti\nwait_a_little\ncli"), name="no STGI before")


@requirement("SVM-15.17-012")
@executes({"": Program(steps=(FIRST,))})
def test_gif_is_1_after_reset(ran: Seen) -> None:
    """Once SVM is enabled an interrupt is taken, though no STGI was executed since the processor was reset."""
    assert ran["no STGI before"].efer & EFER_SVME, "SVM was not enabled"
    assert ran["no STGI before"].vector == VECTOR


RESETS = source("clgi\nsend_interrupt\nsti\nwait_a_little\nmov al, 0xFE\nout 0x64, al\njmp $")
"""An interrupt is held first, which shows that GIF is 0; then the keyboard controller resets the processor."""


@requirement("SVM-15.17-010")
@executes({"": program(*enable_svm(), code(RESETS, name="reset"))})
def test_reset_is_not_held(ran: Seen) -> None:
    """With GIF=0 a reset resets the machine."""
    assert len(ran.steps) == len(ran.program.steps) - 1, f"the step ended: {ran['reset']}"
    assert ran.ended.how is How.RESET, f"the machine {ran.ended}"
