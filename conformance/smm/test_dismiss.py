"""SMM_CTL.DISMISS: an SMI that waits is forgotten (15.30.3)."""

from conformance.gif.interrupts import source
from conformance.smm.handler import MEMORY, SMI, WATCHES, count, first, has_smm
from harness.cases import executes, requirement
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.msr import Msr, SmmCtl

HELD = "clgi\nsend {smi:#x}\n{then}\nstgi\nwait_a_little"
DISMISSES = f"mov ecx, {Msr.SMM_CTL:#x}\nmov eax, {SmmCtl.DISMISS:#x}\nxor edx, edx\nwrmsr"
STEPS = {
    "dismissed": code(source(HELD.format(smi=SMI, then=DISMISSES)), name="dismissed"),
    "held": code(source(HELD.format(smi=SMI, then="nop")), name="held"),
}


@requirement("SVM-15.30.3-008")
@executes({"": program(*enable_svm(), *first(), *STEPS.values(), memory=MEMORY, watches=WATCHES)})
def test_dismiss_clears_a_pending_smi(ran: Seen) -> None:
    """An SMI that GIF=0 holds does not come after STGI when SMM_CTL.DISMISS was written, and without that it does."""
    has_smm(ran)
    assert [ran[name].vector for name in STEPS] == [None] * 2
    assert [count(ran, name) for name in STEPS] == [1, 2]
