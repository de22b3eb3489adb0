"""The registers of SMM: each WRMSR that the hypervisor executes is judged, if there is any (15.22, 15.30.3, 15.32)."""

from conformance.smm.test_intercepted import CONTAINS
from harness.boot import Insn
from harness.cases import NotRun, boots, requirement
from harness.msr import SMM_LOCK, Msr, SmmCtl
from harness.observation import Event, Observation

TOGETHER = (
    SmmCtl.ENTER | SmmCtl.SMI_CYCLE,
    SmmCtl.DISMISS | SmmCtl.ENTER,
    SmmCtl.DISMISS | SmmCtl.ENTER | SmmCtl.SMI_CYCLE,
    SmmCtl.EXIT | SmmCtl.RSM_CYCLE,
)
"""What SMM_CTL may be given at once; besides these one bit, or none."""


def accesses(seen: Observation) -> list[Event]:
    """Every RDMSR and WRMSR, in order; the case is not run when some were not watched."""
    if cut := seen.given_up(Insn.RDMSR, Insn.WRMSR):
        raise NotRun(f"what it did later was not watched: {cut[0]}")
    return seen.executed(Insn.RDMSR, Insn.WRMSR)


def reads_lock(event: Event) -> bool:
    """Whether it reads HWCR, and is not faulted for it."""
    return event.insn is Insn.RDMSR and event.msr == Msr.HWCR and event.completed


@requirement("SVM-15.22-005")
@boots()
def test_smm_lock_is_found_clear_before_smm_is_contained(seen: Observation) -> None:
    """Before the first write of a register of SMM the hypervisor has read HWCR, and SmmLock was 0."""
    unlocked = False
    for event in accesses(seen):
        if reads_lock(event):
            unlocked = not event.returned & SMM_LOCK
        elif event.insn is Insn.WRMSR and event.msr in CONTAINS:
            assert unlocked, f"{event.msr:#x} is written at {event.where}, SmmLock was not seen to be 0"


@requirement("SVM-15.30.3-004")
@boots()
def test_smm_ctl_gets_defined_combinations(seen: Observation) -> None:
    """SMM_CTL is given bits that may be given together, ENTER and EXIT in turn, ENTER first."""
    entered = False
    for event in (e for e in accesses(seen) if e.insn is Insn.WRMSR and e.msr == Msr.SMM_CTL):
        value = SmmCtl(event.written)
        assert value in TOGETHER or value.bit_count() <= 1, f"SMM_CTL is given {value!r} at {event.where}"
        if value & (SmmCtl.ENTER | SmmCtl.EXIT):
            assert bool(value & SmmCtl.EXIT) == entered, f"{value!r} at {event.where}: ENTER and EXIT do not match"
            entered = not entered


@requirement("SVM-15.32-012")
@boots()
def test_smm_lock_is_read_after_an_attempt_to_unlock(seen: Observation) -> None:
    """Who writes SMM_KEY without knowing that SmmLock is 0 reads HWCR then, before other registers are written."""
    unlocked, attempt = False, ""
    for event in accesses(seen):
        if reads_lock(event):
            unlocked, attempt = not event.returned & SMM_LOCK, ""
        elif event.insn is Insn.WRMSR and event.msr == Msr.SMM_KEY and not unlocked:
            attempt = event.where
        elif event.insn is Insn.WRMSR and event.msr in CONTAINS:
            assert not attempt, f"{event.msr:#x} is written at {event.where}, HWCR was not read since {attempt}"
    assert not attempt, f"HWCR was not read after SMM_KEY was written at {attempt}"
