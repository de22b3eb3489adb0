"""HWCR.SmmLock, and the key in SMM_KEY that clears it again (15.32)."""

from conformance.vmrun.programs import GP
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, rdmsr, wrmsr
from harness.msr import SMM_LOCK, Msr

KEY = 0xFEDC_BA98_7654_3210
SETS = code(f"rdmsr\nor eax, {SMM_LOCK}\nwrmsr", rcx=Msr.HWCR)


@requirement("SVM-15.32-001")
@executes({"": Program(steps=(rdmsr(Msr.HWCR), SETS, rdmsr(Msr.HWCR)))})
def test_smm_lock_can_be_set(ran: Seen) -> None:
    """HWCR.SmmLock is 0 after a reset, and reads as 1 once it was set."""
    assert [ran[n].vector for n in range(3)] == [None] * 3
    assert [ran[n].value & SMM_LOCK for n in (0, 2)] == [0, SMM_LOCK]


@requirement("SVM-15.32-005")
@executes({"": Program(steps=(wrmsr(Msr.SMM_KEY, KEY), rdmsr(Msr.SMM_KEY)))})
def test_smm_key_shows_no_key(ran: Seen) -> None:
    """SMM_KEY reads as 0 after a key was written, if it can be read."""
    assert (ran[1].vector, ran[1].error) == (GP, 0) or (ran[1].vector, ran[1].value) == (None, 0)
