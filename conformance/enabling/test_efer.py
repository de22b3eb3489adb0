"""EFER.SVME as the processor offers it (15.4)."""

from conformance.vmrun.programs import GP, efer_svme
from harness.cases import Cpus, executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import cpuid, rdmsr
from harness.machine.registers import EFER_SVME
from harness.msr import CPUID_SVM, Msr

ON_AND_OFF = Program(steps=(efer_svme(True), rdmsr(Msr.EFER), efer_svme(False), rdmsr(Msr.EFER)))


@requirement("SVM-15.4-012")
@executes({"": ON_AND_OFF})
def test_svme_can_be_set_and_cleared(ran: Seen) -> None:
    """WRMSR sets and clears EFER.SVME, and RDMSR returns what was written."""
    assert [ran[n].vector for n in range(4)] == [None] * 4
    assert (ran[1].value & EFER_SVME, ran[3].value & EFER_SVME) == (EFER_SVME, 0)


@requirement("SVM-15.4-013")
@executes({"": ON_AND_OFF}, cpus=Cpus.WITHOUT_SVM)
def test_svme_is_reserved_without_svm(ran: Seen) -> None:
    """On a processor without SVM setting EFER.SVME raises #GP(0), and it stays 0."""
    assert (ran[0].vector, ran[0].error) == (GP, 0)
    assert ran[1].value & EFER_SVME == 0


@requirement("SVM-15.4-014")
@executes({"": Program(steps=(cpuid(0x8000_0000), cpuid(CPUID_SVM)))})
def test_cpuid_tells_revision_and_asids(ran: Seen) -> None:
    """Fn8000_000A exists; EAX[7:0] is the SVM revision, at least 1, and EBX the number of ASIDs, at least 2."""
    assert ran[0].registers["rax"] & 0xFFFF_FFFF >= CPUID_SVM
    assert ran[1].registers["rax"] & 0xFF >= 1
    assert ran[1].registers["rbx"] & 0xFFFF_FFFF >= 2
