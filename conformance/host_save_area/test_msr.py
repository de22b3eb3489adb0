"""VM_HSAVE_PA as the processor offers it (15.30.4)."""

from harness.cases import executes, requirement
from harness.lab.program import SCRATCH, Program, Seen, cpuid, rdmsr, wrmsr
from harness.msr import Msr

GP = 13


def writing(*values: int) -> Program:
    """Write each value, and read the register after each."""
    steps = [step for value in values for step in (wrmsr(Msr.VM_HSAVE_PA, value), rdmsr(Msr.VM_HSAVE_PA))]
    return Program(steps=(cpuid(0x8000_0008), *steps))


@requirement("SVM-15.30.4-001")
@executes({"pages": writing(SCRATCH, SCRATCH + 0x1000)})
def test_reads_back(ran: Seen) -> None:
    """VM_HSAVE_PA reads as it was written, with EFER.SVME clear."""
    assert ran[1].vector is None and ran[2].value == SCRATCH
    assert ran[3].vector is None and ran[4].value == SCRATCH + 0x1000
    assert ran[4].efer & 0x1000 == 0


@requirement("SVM-15.30.4-002")
@executes({"lowest": writing(SCRATCH, SCRATCH + 1), "highest": writing(SCRATCH, SCRATCH + 0x800)})
def test_unaligned_value_faults(ran: Seen) -> None:
    """Writing VM_HSAVE_PA with any of bits 11:0 set raises #GP(0) and changes nothing."""
    assert (ran[3].vector, ran[3].error) == (GP, 0)
    assert ran[4].value == SCRATCH


@requirement("SVM-15.30.4-003")
@executes({"beyond_all": writing(SCRATCH, 1 << 52), "top_bit": writing(SCRATCH, 1 << 63)})
def test_value_beyond_physical_memory_faults(ran: Seen) -> None:
    """Writing an address at or above the maximum physical address raises #GP(0) and changes nothing."""
    assert (ran[3].vector, ran[3].error) == (GP, 0)
    assert ran[4].value == SCRATCH
