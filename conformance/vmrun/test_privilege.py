"""Who may execute the SVM instructions: #UD while EFER.SVME is 0, #GP(0) above CPL 0."""

from conformance.vmrun.programs import GP, UD, each
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.program import Seen
from harness.machine.registers import EFER_SVME

# STGI and SKINIT may be usable without EFER.SVME where CPUID reports SKINIT (15.4-011).
NEED_SVME = (Insn.VMRUN, Insn.VMLOAD, Insn.VMSAVE, Insn.CLGI, Insn.INVLPGA, Insn.VMMCALL)
PRIVILEGED = (Insn.VMLOAD, Insn.VMSAVE, Insn.STGI, Insn.CLGI, Insn.INVLPGA)


def last_step_faults(ran: Seen, vector: int, error: int = 0) -> None:
    """The instruction under test, the last step, faulted so, at its own address."""
    step = ran[3]
    assert (step.vector, step.error) == (vector, error)
    assert step.rip == 0, f"the fault's RIP is {step.rip} bytes behind the instruction"


@requirement("SVM-15.5.1-002")
@executes(each((Insn.VMRUN,), svme=True, cpl=3))
def test_vmrun_at_cpl_3_is_gp(ran: Seen) -> None:
    """VMRUN at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    assert ran[2].value & EFER_SVME
    last_step_faults(ran, GP)


@requirement("SVM-15.4-005")
@executes(each((Insn.VMRUN,), svme=False, cpl=3))
def test_vmrun_at_cpl_3_without_svme_is_ud(ran: Seen) -> None:
    """VMRUN at CPL 3 with EFER.SVME=0 raises #UD: the instruction does not exist, whoever asks."""
    assert not ran[2].value & EFER_SVME
    last_step_faults(ran, UD)


@requirement("SVM-15.5.2-001", "SVM-15.5.2-004", "SVM-15.17-011", "SVM-V3-001", "SVM-V3-002", "SVM-V3-004")
@executes(each(PRIVILEGED, svme=True, cpl=3))
def test_the_others_at_cpl_3_are_gp(ran: Seen) -> None:
    """VMLOAD, VMSAVE, STGI, CLGI and INVLPGA at CPL 3 with EFER.SVME=1 raise #GP(0)."""
    assert ran[2].value & EFER_SVME
    last_step_faults(ran, GP)


@requirement("SVM-V3-003")
@executes(each((Insn.SKINIT,), svme=True, cpl=3))
def test_skinit_at_cpl_3_is_gp(ran: Seen) -> None:
    """SKINIT at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    assert ran[2].value & EFER_SVME
    last_step_faults(ran, GP)


@requirement(
    "SVM-15.4-005", "SVM-15.4-006", "SVM-15.4-007", "SVM-15.4-008", "SVM-15.4-009", "SVM-15.4-010", "SVM-V3-009"
)
@executes(each(NEED_SVME, svme=False, cpl=0))
def test_without_svme_they_are_ud(ran: Seen) -> None:
    """At CPL 0 with EFER.SVME=0 every SVM instruction that needs it raises #UD."""
    assert not ran[2].value & EFER_SVME
    last_step_faults(ran, UD)
