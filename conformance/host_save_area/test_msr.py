"""VM_HSAVE_PA as the processor offers it (15.30.4)."""

from conformance.vmrun.programs import HIGH_BITS, physical_limit
from harness.cases import executes, requirement
from harness.lab.program import SCRATCH, Program
from harness.lab.seen import Seen
from harness.lab.steps import cpuid, rdmsr, wrmsr
from harness.machine.registers import EFER_SVME
from harness.msr import Msr

GP = 13


UNALIGNED = tuple(SCRATCH + (1 << bit) for bit in range(12))
BEYOND = (*HIGH_BITS, 1 << 52, 1 << 63)


def writing(*values: int) -> dict[str, Program]:
    """Write a good value, then each of these, and read the register after each."""
    steps = [step for value in (SCRATCH, *values) for step in (wrmsr(Msr.VM_HSAVE_PA, value), rdmsr(Msr.VM_HSAVE_PA))]
    return {"": Program(steps=(*steps, cpuid(0x8000_0008)))}


def each_is_refused(ran: Seen, tried: tuple[int, ...]) -> None:
    """Every write raised #GP(0), and the register kept the good value."""
    assert ran[0].vector is None and ran[1].value == SCRATCH
    seen = {hex(value): (ran[2 * n].vector, ran[2 * n].error, ran[2 * n + 1].value) for n, value in enumerate(tried, 1)}
    assert seen == {hex(value): (GP, 0, SCRATCH) for value in tried}


@requirement("SVM-15.30.4-001", "SVM-15.30-002")
@executes(writing(SCRATCH + 0x1000, SCRATCH + 0x2000))
def test_reads_back(ran: Seen) -> None:
    """VM_HSAVE_PA reads as it was written, with EFER.SVME clear."""
    assert [ran[n].vector for n in range(6)] == [None] * 6
    assert [ran[n].value for n in (1, 3, 5)] == [SCRATCH, SCRATCH + 0x1000, SCRATCH + 0x2000]
    assert ran[5].efer & EFER_SVME == 0


@requirement("SVM-15.30.4-002")
@executes(writing(*UNALIGNED))
def test_unaligned_value_faults(ran: Seen) -> None:
    """Writing VM_HSAVE_PA with any of bits 11:0 set raises #GP(0) and changes nothing."""
    each_is_refused(ran, UNALIGNED)


@requirement("SVM-15.30.4-003")
@executes(writing(*BEYOND))
def test_value_beyond_physical_memory_faults(ran: Seen) -> None:
    """Writing an address at or above the maximum physical address raises #GP(0); one below it is taken."""
    limit = physical_limit(ran, len(ran.program.steps) - 1)
    assert all(ran[2 * n].vector is None for n, bit in enumerate(HIGH_BITS, 1) if bit < limit)
    seen = {bit: (ran[2 * n].vector, ran[2 * n].error) for n, bit in enumerate(BEYOND, 1) if bit >= limit}
    assert seen == {bit: (GP, 0) for bit in BEYOND if bit >= limit}
    assert ran[2 * len(BEYOND) + 1].value < limit, "a value that faulted was kept"
