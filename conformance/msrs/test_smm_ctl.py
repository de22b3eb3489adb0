"""SMM_CTL, C001_0116h (15.30.3)."""

from conformance.vmrun.programs import GP
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, rdmsr, wrmsr
from harness.msr import SMM_LOCK, Msr

RESERVED = (5, 6, 31, 32, 63)


@requirement("SVM-15.30.3-001")
@executes({"": Program(steps=(wrmsr(Msr.SMM_CTL, 0), rdmsr(Msr.SMM_CTL)))})
def test_smm_ctl_cannot_be_read(ran: Seen) -> None:
    """Reading SMM_CTL raises #GP(0), though it can be written."""
    assert ran[0].vector is None
    assert (ran[1].vector, ran[1].error) == (GP, 0)


@requirement("SVM-15.30.3-003")
@executes({"": Program(steps=(wrmsr(Msr.SMM_CTL, 0), *(wrmsr(Msr.SMM_CTL, 1 << bit) for bit in RESERVED)))})
def test_reserved_bits_of_smm_ctl_fault(ran: Seen) -> None:
    """Writing SMM_CTL with any of bits 63:5 set raises #GP(0), and with none it does not."""
    assert ran[0].vector is None
    assert {bit: (ran[n].vector, ran[n].error) for n, bit in enumerate(RESERVED, 1)} == dict.fromkeys(RESERVED, (GP, 0))


@requirement("SVM-15.30.3-002")
@executes(
    {
        "": Program(
            steps=(
                wrmsr(Msr.SMM_CTL, 0),
                code(f"rdmsr\nor eax, {SMM_LOCK}\nwrmsr", rcx=Msr.HWCR),
                rdmsr(Msr.HWCR),
                wrmsr(Msr.SMM_CTL, 0),
            )
        )
    }
)
def test_smm_ctl_cannot_be_written_once_smm_is_locked(ran: Seen) -> None:
    """Writing SMM_CTL raises #GP once HWCR.SmmLock is set, and before it does not."""
    assert ran[0].vector is None
    assert ran[2].value & SMM_LOCK, "SmmLock could not be set"
    assert ran[3].vector == GP
