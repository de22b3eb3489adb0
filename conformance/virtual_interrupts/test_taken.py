"""When a guest takes a virtual interrupt, and what that does (15.21.4)."""

from conformance.event_injection.guests import NOTHING
from conformance.exception_intercepts.guests import IDT_NOWHERE
from conformance.intercepts.tried import GOES_ON
from conformance.interrupt_intercepts.guests import (
    BEHIND_STI,
    MASKED,
    NOBODY,
    STI,
    TAKES,
    TOUCHES,
    VECTOR,
    ends,
    interruptible,
    pending,
    sent,
    takers,
)
from conformance.vmrun.guests import each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Guest
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Event, Misc1, Vintr

INTR_ALONE = int(Misc1.INTR)
"""Intercepts that let the guest take a virtual interrupt."""

OTHER, PHYSICAL = 0x11, 0x50
PF = 14
IGNORED = MASKED | Vintr.V_IGN_TPR

IRR, ISR = 0x200, 0x100
BANKS = {"r8": (IRR, VECTOR), "r9": (ISR, VECTOR), "r10": (IRR, PHYSICAL), "r11": (ISR, PHYSICAL)}
LOOKS_AT_APIC = "mov edi, 0xFEE00000\n" + "".join(
    f"mov {register}d, [rdi + {bank + vector // 32 * 16:#x}]\n" for register, (bank, vector) in BANKS.items()
)
"""The host reads the 32 bits of each bank that hold a vector's."""


def without_idt(it: Guest) -> Guest:
    """The guest, whose IDT is in a page that is not there; that exits."""
    it.vmcb.update(**IDT_NOWHERE)
    it.vmcb.intercept_exceptions |= 1 << PF
    return it


WAITING = visits(
    {
        "first": Visit(TOUCHES),
        "taken": Visit(pending(STI, flags=0, intercepts=INTR_ALONE)),
        "taken, another vector": Visit(pending(STI, flags=0, intercepts=INTR_ALONE, vector=OTHER)),
        "none": Visit(interruptible(STI, flags=0)),
        "equal": Visit(pending(STI, flags=0, priority=6, vintr=MASKED | 6)),
        "above": Visit(pending(STI, flags=0, priority=6, vintr=MASKED | 5)),
        "equal, 0": Visit(pending(STI, flags=0, priority=0)),
        "0 below 15": Visit(pending(STI, flags=0, priority=0, vintr=MASKED | 15)),
        "0 below 15, ignored": Visit(pending(STI, flags=0, priority=0, vintr=IGNORED | 15)),
        "IDT nowhere": Visit(without_idt(pending(STI, flags=0, intercepts=INTR_ALONE))),
        "physical one besides": Visit(
            pending(STI, flags=0, intercepts=INTR_ALONE), sent(0x4000 + PHYSICAL), LOOKS_AT_APIC + TAKES
        ),
        "both": Visit(
            pending(STI, flags=0, vintr=0, intercepts=Misc1.INTR | Misc1.VINTR), sent(0x4000 + PHYSICAL), TAKES
        ),
    }
)


@requirement("SVM-15.21.4-001")
@executes(WAITING)
def test_virtual_interrupt_is_taken(ran: Seen) -> None:
    """With V_IRQ=1, a priority above V_TPR, and IF=1, the handler of V_INTR_VECTOR runs; with V_IRQ=0 none does."""
    seen = [takers(ran, name)[0] for name in ("taken", "taken, another vector", "none")]
    assert seen == [VECTOR, OTHER, NOTHING]


@requirement("SVM-15.21.4-002")
@executes(WAITING)
def test_equal_priority_waits(ran: Seen) -> None:
    """A priority of 6 is let in above a V_TPR of 5 and not at 6, nor is one of 0 at 0."""
    each_ends(ran, {"above": exits.VINTR, "equal": GOES_ON, "equal, 0": GOES_ON})


@requirement("SVM-15.21.4-003")
@executes(WAITING)
def test_v_tpr_can_be_ignored(ran: Seen) -> None:
    """With V_IGN_TPR=1 a priority of 0 is let in at a V_TPR of 15, and not without."""
    each_ends(ran, {"0 below 15, ignored": exits.VINTR, "0 below 15": GOES_ON})


@requirement("SVM-15.21.4-004")
@executes(WAITING)
def test_virtual_interrupt_is_not_fetched_from_the_apic(ran: Seen) -> None:
    """While a guest takes its virtual interrupt the APIC still requests another, and has none in service."""
    assert takers(ran, "physical one besides") == (VECTOR, PHYSICAL)
    left = ran["physical one besides"].registers
    bit = 1 << PHYSICAL % 32
    assert (left["r8"], left["r9"], left["r10"] & bit, left["r11"]) == (0, 0, bit, 0)


@requirement("SVM-15.21.4-005")
@executes(WAITING)
def test_v_irq_is_cleared_before_the_idt_is_read(ran: Seen) -> None:
    """A #PF on the way to the handler exits with V_IRQ=0, and with an event in EXITINTINFO."""
    each_ends(ran, {"IDT nowhere": exits.EXCEPTION + PF})
    left = ran.vmrun("IDT nowhere").after
    assert left.exitintinfo & Event.V, "it was not on the way to the handler"
    assert left.vintr & Vintr.V_IRQ == 0


@requirement("SVM-15.21.4-007")
@executes(WAITING)
def test_physical_interrupt_comes_first(ran: Seen) -> None:
    """When a guest's STI lets both in, it exits with INTR, and the virtual one still waits."""
    assert ends(ran, "both") == (exits.INTR, PHYSICAL)
    assert ran.vmrun("both").after.vintr & Vintr.V_IRQ


@requirement("SVM-15.21.4-010")
@executes(WAITING)
def test_it_is_taken_one_instruction_behind_sti(ran: Seen) -> None:
    """The handler returns to behind the instruction that follows the STI."""
    assert takers(ran, "taken") == (VECTOR, NOBODY)
    seen = ran.vmrun("taken")
    assert seen.step.registers["rcx"] - seen.before.rip == BEHIND_STI
