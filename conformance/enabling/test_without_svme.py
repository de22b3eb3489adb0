"""What exists, and what does not, while EFER.SVME is 0: STGI and SKINIT (15.4), and the MSRs of SVM (15.30)."""

from conformance.vmrun.programs import GP, UD, efer_svme
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program, Step
from harness.lab.seen import Seen
from harness.lab.steps import code, execute, rdmsr, wrmsr
from harness.machine.registers import EFER_SVME
from harness.msr import Msr, VmCr

LOADER = places.DATA
"""A block of 64 KiB that SKINIT would take: its header says that it begins at offset 4 (15.27.1), and there is UD2."""


def without_svme(*steps: Step) -> dict[str, Program]:
    """One program: EFER.SVME off, then these steps."""
    return {"": Program(regions={LOADER: bytes.fromhex("0400 0001 0f0b")}, steps=(efer_svme(False), *steps))}


def svme_was_off(ran: Seen, *steps: int) -> None:
    """EFER.SVME was 0 after each of these steps."""
    assert not any(ran[n].efer & EFER_SVME for n in (0, *steps))


@requirement("SVM-15.4-011")
@executes(without_svme(execute(Insn.STGI), efer_svme(True), execute(Insn.STGI)))
def test_stgi_without_svme_is_ud(ran: Seen) -> None:
    """STGI raises #UD at CPL 0 while EFER.SVME is 0, where neither SKINIT nor SVM-Lock is; with SVME=1 it does not."""
    svme_was_off(ran, 1)
    assert [(ran[n].vector, ran[n].rip) for n in (1, 3)] == [(UD, 0), (None, 3)]


@requirement("SVM-15.4-022")
@executes(without_svme(execute(Insn.SKINIT, rax=LOADER)))
def test_skinit_without_svme_is_ud(ran: Seen) -> None:
    """SKINIT raises #UD at CPL 0 while EFER.SVME is 0, where neither SKINIT nor SVM-Lock is."""
    svme_was_off(ran, 1)
    assert (ran[1].vector, ran[1].rip) == (UD, 0)


@requirement("SVM-15.30-001")
@executes(without_svme(code(f"rdmsr\nor eax, {VmCr.R_INIT:#x}\nwrmsr", rcx=Msr.VM_CR), rdmsr(Msr.VM_CR)))
def test_vm_cr_needs_no_svme(ran: Seen) -> None:
    """VM_CR can be read and written while EFER.SVME is 0: R_INIT reads as 1 after it was set."""
    svme_was_off(ran, 1, 2)
    assert [ran[n].vector for n in (1, 2)] == [None] * 2
    assert ran[2].value & VmCr.R_INIT


@requirement("SVM-15.30-003", "SVM-15.30.2-001")
@executes(without_svme(wrmsr(Msr.IGNNE, 1), rdmsr(Msr.IGNNE), wrmsr(Msr.IGNNE, 0), rdmsr(Msr.IGNNE)))
def test_ignne_needs_no_svme(ran: Seen) -> None:
    """IGNNE can be written and read while EFER.SVME is 0: its bit 0 reads as it was written."""
    svme_was_off(ran, 1, 2, 3, 4)
    assert [ran[n].vector for n in (1, 2, 3, 4)] == [None] * 4
    assert (ran[2].value, ran[4].value) == (1, 0)


@requirement("SVM-15.30-004")
@executes(without_svme(rdmsr(Msr.HWCR), wrmsr(Msr.SMM_CTL, 0), wrmsr(Msr.SMM_CTL, 1 << 5)))
def test_smm_ctl_needs_no_svme(ran: Seen) -> None:
    """SMM_CTL can be written while EFER.SVME is 0 and SMM is not locked: 0 is taken, and a reserved bit is not."""
    svme_was_off(ran, 1, 2, 3)
    assert ran[1].value & 1 == 0, "HWCR.SmmLock is 1 after reset"
    assert [ran[n].vector for n in (2, 3)] == [None, GP]


@requirement("SVM-15.30-005")
@executes(without_svme(rdmsr(Msr.TSC_RATIO), wrmsr(Msr.TSC_RATIO, 2 << 32), rdmsr(Msr.TSC_RATIO)))
def test_tsc_ratio_needs_no_svme(ran: Seen) -> None:
    """TSC_RATIO can be read and written while EFER.SVME is 0."""
    svme_was_off(ran, 1, 2, 3)
    assert [ran[n].vector for n in (1, 2, 3)] == [None] * 3
    assert ran[3].value == 2 << 32
