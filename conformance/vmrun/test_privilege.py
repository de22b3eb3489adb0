"""Who may execute the SVM instructions: #UD while EFER.SVME is 0, #GP(0) above CPL 0."""

from conformance.vmrun.programs import FIRST, GP, UD, attempts
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.program import Program, Seen
from harness.machine.registers import EFER_SVME

# STGI and SKINIT may be usable without EFER.SVME where CPUID reports SKINIT (15.4-011).
NEED_SVME = (Insn.VMRUN, Insn.VMLOAD, Insn.VMSAVE, Insn.CLGI, Insn.INVLPGA, Insn.VMMCALL)
PRIVILEGED = (Insn.VMLOAD, Insn.VMSAVE, Insn.STGI, Insn.CLGI, Insn.INVLPGA)


def program(*insns: Insn, svme: bool, cpl: int) -> dict[str, Program]:
    """One program that tries them all."""
    return {"": attempts(insns, svme=svme, cpl=cpl)}


def each_faults(ran: Seen, insns: tuple[Insn, ...], vector: int, *, svme: bool) -> None:
    """Every instruction faulted with this vector and error code 0, at its own address, with EFER.SVME as asked for."""
    assert bool(ran[FIRST - 1].value & EFER_SVME) is svme
    seen = {str(insn): (ran[n].vector, ran[n].error, ran[n].rip) for n, insn in enumerate(insns, FIRST)}
    assert seen == {str(insn): (vector, 0, 0) for insn in insns}


@requirement("SVM-15.5.1-002")
@executes(program(Insn.VMRUN, svme=True, cpl=3))
def test_vmrun_at_cpl_3_is_gp(ran: Seen) -> None:
    """VMRUN at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    each_faults(ran, (Insn.VMRUN,), GP, svme=True)


@requirement("SVM-15.4-005")
@executes(program(Insn.VMRUN, svme=False, cpl=3))
def test_vmrun_at_cpl_3_without_svme_is_ud(ran: Seen) -> None:
    """VMRUN at CPL 3 with EFER.SVME=0 raises #UD: the instruction does not exist, whoever asks."""
    each_faults(ran, (Insn.VMRUN,), UD, svme=False)


@requirement("SVM-15.5.2-001", "SVM-15.5.2-004", "SVM-15.17-011", "SVM-V3-001", "SVM-V3-002", "SVM-V3-004")
@executes(program(*PRIVILEGED, svme=True, cpl=3))
def test_the_others_at_cpl_3_are_gp(ran: Seen) -> None:
    """VMLOAD, VMSAVE, STGI, CLGI and INVLPGA at CPL 3 with EFER.SVME=1 raise #GP(0)."""
    each_faults(ran, PRIVILEGED, GP, svme=True)


@requirement("SVM-V3-003")
@executes(program(Insn.SKINIT, svme=True, cpl=3))
def test_skinit_at_cpl_3_is_gp(ran: Seen) -> None:
    """SKINIT at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    each_faults(ran, (Insn.SKINIT,), GP, svme=True)


@requirement(
    "SVM-15.4-005", "SVM-15.4-006", "SVM-15.4-007", "SVM-15.4-008", "SVM-15.4-009", "SVM-15.4-010", "SVM-V3-009"
)
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_without_svme_they_are_ud(ran: Seen) -> None:
    """At CPL 0 with EFER.SVME=0 every SVM instruction that needs it raises #UD."""
    each_faults(ran, NEED_SVME, UD, svme=False)
