"""IGNNE, C001_0115h (15.30.2)."""

from conformance.vmrun.programs import GP
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import wrmsr
from harness.msr import Msr

RESERVED = (1, 2, 31, 32, 63)


@requirement("SVM-15.30.2-002")
@executes({"": Program(steps=(wrmsr(Msr.IGNNE, 0), *(wrmsr(Msr.IGNNE, 1 << bit) for bit in RESERVED)))})
def test_reserved_bits_of_ignne_fault(ran: Seen) -> None:
    """Writing IGNNE with any of bits 63:1 set raises #GP(0), and with none it does not."""
    assert ran[0].vector is None
    assert {bit: (ran[n].vector, ran[n].error) for n, bit in enumerate(RESERVED, 1)} == dict.fromkeys(RESERVED, (GP, 0))
