"""Who may execute the SVM instructions: #UD while EFER.SVME is 0, #GP(0) above CPL 0."""

from conformance.vmrun.programs import FIRST, GP, UD, attempts
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.machine.registers import EFER_SVME

# STGI and SKINIT may be usable without EFER.SVME where CPUID reports SKINIT (15.4-011).
NEED_SVME = (Insn.VMRUN, Insn.VMLOAD, Insn.VMSAVE, Insn.CLGI, Insn.INVLPGA, Insn.VMMCALL)
PRIVILEGED = (Insn.VMLOAD, Insn.VMSAVE, Insn.STGI, Insn.CLGI, Insn.INVLPGA)


def program(*insns: Insn, svme: bool, cpl: int) -> dict[str, Program]:
    """One program that tries them all."""
    return {"": attempts(insns, svme=svme, cpl=cpl)}


def faults(ran: Seen, insn: Insn, vector: int, *, svme: bool, among: tuple[Insn, ...] = ()) -> None:
    """The instruction faulted with this vector and error code 0, at its own address, with EFER.SVME as asked for."""
    assert bool(ran[FIRST - 1].value & EFER_SVME) is svme
    step = ran[FIRST + (among.index(insn) if among else 0)]
    assert (step.vector, step.error, step.rip) == (vector, 0, 0), f"{insn} came to vector {step.vector}"


@requirement("SVM-15.5.1-002")
@executes(program(Insn.VMRUN, svme=True, cpl=3))
def test_vmrun_at_cpl_3_is_gp(ran: Seen) -> None:
    """VMRUN at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.VMRUN, GP, svme=True)


@requirement("SVM-15.4-005")
@executes(program(Insn.VMRUN, svme=False, cpl=3))
def test_vmrun_at_cpl_3_without_svme_is_ud(ran: Seen) -> None:
    """VMRUN at CPL 3 with EFER.SVME=0 raises #UD: the instruction does not exist, whoever asks."""
    faults(ran, Insn.VMRUN, UD, svme=False)


@requirement("SVM-15.5.2-001")
@executes(program(*PRIVILEGED, svme=True, cpl=3))
def test_vmload_at_cpl_3_is_gp(ran: Seen) -> None:
    """VMLOAD at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.VMLOAD, GP, svme=True, among=PRIVILEGED)


@requirement("SVM-15.5.2-004")
@executes(program(*PRIVILEGED, svme=True, cpl=3))
def test_vmsave_at_cpl_3_is_gp(ran: Seen) -> None:
    """VMSAVE at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.VMSAVE, GP, svme=True, among=PRIVILEGED)


@requirement("SVM-V3-002")
@executes(program(*PRIVILEGED, svme=True, cpl=3))
def test_stgi_at_cpl_3_is_gp(ran: Seen) -> None:
    """STGI at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.STGI, GP, svme=True, among=PRIVILEGED)


@requirement("SVM-V3-001")
@executes(program(*PRIVILEGED, svme=True, cpl=3))
def test_clgi_at_cpl_3_is_gp(ran: Seen) -> None:
    """CLGI at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.CLGI, GP, svme=True, among=PRIVILEGED)


@requirement("SVM-V3-004")
@executes(program(*PRIVILEGED, svme=True, cpl=3))
def test_invlpga_at_cpl_3_is_gp(ran: Seen) -> None:
    """INVLPGA at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.INVLPGA, GP, svme=True, among=PRIVILEGED)


@requirement("SVM-V3-003")
@executes(program(Insn.SKINIT, svme=True, cpl=3))
def test_skinit_at_cpl_3_is_gp(ran: Seen) -> None:
    """SKINIT at CPL 3 with EFER.SVME=1 raises #GP(0)."""
    faults(ran, Insn.SKINIT, GP, svme=True)


@requirement("SVM-15.4-005")
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_vmrun_without_svme_is_ud(ran: Seen) -> None:
    """VMRUN at CPL 0 with EFER.SVME=0 raises #UD."""
    faults(ran, Insn.VMRUN, UD, svme=False, among=NEED_SVME)


@requirement("SVM-15.4-006")
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_vmload_without_svme_is_ud(ran: Seen) -> None:
    """VMLOAD at CPL 0 with EFER.SVME=0 raises #UD."""
    faults(ran, Insn.VMLOAD, UD, svme=False, among=NEED_SVME)


@requirement("SVM-15.4-007")
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_vmsave_without_svme_is_ud(ran: Seen) -> None:
    """VMSAVE at CPL 0 with EFER.SVME=0 raises #UD."""
    faults(ran, Insn.VMSAVE, UD, svme=False, among=NEED_SVME)


@requirement("SVM-15.4-008")
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_clgi_without_svme_is_ud(ran: Seen) -> None:
    """CLGI at CPL 0 with EFER.SVME=0 raises #UD."""
    faults(ran, Insn.CLGI, UD, svme=False, among=NEED_SVME)


@requirement("SVM-15.4-009")
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_invlpga_without_svme_is_ud(ran: Seen) -> None:
    """INVLPGA at CPL 0 with EFER.SVME=0 raises #UD."""
    faults(ran, Insn.INVLPGA, UD, svme=False, among=NEED_SVME)


@requirement("SVM-15.4-010")
@executes(program(*NEED_SVME, svme=False, cpl=0))
def test_vmmcall_without_svme_is_ud(ran: Seen) -> None:
    """VMMCALL at CPL 0 with EFER.SVME=0 raises #UD."""
    faults(ran, Insn.VMMCALL, UD, svme=False, among=NEED_SVME)
