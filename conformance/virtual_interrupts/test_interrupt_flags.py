"""Whose RFLAGS.IF holds interrupts back, the guest's or the host's (15.21.1)."""

from conformance.event_injection.guests import NOTHING
from conformance.intercepts.tried import GOES_ON
from conformance.interrupt_intercepts.guests import (
    BEHIND_STI,
    LINGERS,
    MASKED,
    NOBODY,
    STI,
    TAKES,
    VECTOR,
    ends,
    interruptible,
    pending,
    progress,
    sent,
    takers,
)
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Guest
from harness.lab.seen import Seen
from harness.model import exits

WAITS, WAITS_WITH_IF = sent(0x4000 + VECTOR), sent(0x4000 + VECTOR, "sti")
"""The host lets an interrupt wait, and its own IF is 0, or 1, at VMRUN."""


def meets(guest: Guest, *, host_if: bool) -> Visit:
    """A guest that runs while an interrupt waits; the host takes what is left."""
    return Visit(guest, WAITS_WITH_IF if host_if else WAITS, TAKES)


PHYSICAL = visits(
    {
        "IF, intercepted": meets(interruptible(LINGERS), host_if=False),
        "no IF, intercepted": meets(interruptible(LINGERS, flags=0), host_if=True),
        "IF": meets(interruptible(LINGERS, intercepts=0), host_if=False),
        "no IF": meets(interruptible(LINGERS, flags=0, intercepts=0), host_if=True),
        "masked, host's IF, intercepted": meets(interruptible(LINGERS, flags=0, vintr=MASKED), host_if=True),
        "masked, guest's IF, intercepted": meets(interruptible(LINGERS, vintr=MASKED), host_if=False),
        "masked, host's IF": meets(interruptible(LINGERS, flags=0, intercepts=0, vintr=MASKED), host_if=True),
        "masked, guest's IF": meets(
            interruptible(f"sti\nnop\n{LINGERS}", flags=0, intercepts=0, vintr=MASKED), host_if=False
        ),
    }
)


@requirement("SVM-15.21.1-001")
@executes(PHYSICAL)
def test_unmasked_the_guests_flag_holds_interrupts(ran: Seen) -> None:
    """With V_INTR_MASKING=0 an interrupt waits while the guest's IF is 0, intercepted or not, with the host's IF 1."""
    assert ends(ran, "IF, intercepted") == (exits.INTR, VECTOR)
    assert ends(ran, "no IF, intercepted") == (GOES_ON, VECTOR)
    assert [takers(ran, name) for name in ("IF", "no IF")] == [(VECTOR, NOBODY), (NOTHING, VECTOR)]


@requirement("SVM-15.21.1-002")
@executes(PHYSICAL)
def test_masked_the_hosts_flag_holds_exits(ran: Seen) -> None:
    """With V_INTR_MASKING=1 an interrupt exits if the host's IF was 1 at VMRUN, whatever the guest's is."""
    assert ends(ran, "masked, host's IF, intercepted") == (exits.INTR, VECTOR)
    assert ends(ran, "masked, guest's IF, intercepted") == (GOES_ON, VECTOR)


@requirement("SVM-15.21.1-002")
@executes(PHYSICAL)
def test_masked_the_hosts_flag_holds_deliveries(ran: Seen) -> None:
    """The same for an interrupt that the guest takes: not even its STI lets one in that the host's IF holds back."""
    assert takers(ran, "masked, host's IF") == (VECTOR, NOBODY)
    assert takers(ran, "masked, guest's IF") == (NOTHING, VECTOR)


VIRTUAL = visits(
    {
        "STI": Visit(pending(STI, flags=0, vintr=0)),
        "no STI": Visit(pending(LINGERS, flags=0, vintr=0), before="sti"),
        "masked, STI": Visit(pending(STI, flags=0)),
        "masked, no STI": Visit(pending(LINGERS, flags=0), before="sti"),
        "masked, host's IF": meets(interruptible(LINGERS, flags=0, vintr=MASKED), host_if=True),
    }
)


def exits_behind_sti(ran: Seen, name: str) -> None:
    """It exits with VINTR where the guest's STI has let the virtual interrupt in."""
    assert (hex(ran.vmrun(name).after.exitcode), progress(ran, name)) == (hex(exits.VINTR), BEHIND_STI)


@requirement("SVM-15.21.1-004")
@executes(VIRTUAL)
def test_unmasked_the_guests_flag_holds_virtual_interrupts(ran: Seen) -> None:
    """With V_INTR_MASKING=0 a virtual interrupt waits until the guest sets its IF, though the host's is 1."""
    exits_behind_sti(ran, "STI")
    assert ends(ran, "no STI") == (GOES_ON, NOBODY)


@requirement("SVM-15.21.1-003")
@executes(VIRTUAL)
def test_masked_the_guests_flag_holds_virtual_interrupts_alone(ran: Seen) -> None:
    """With V_INTR_MASKING=1 the guest's IF=0 holds a virtual interrupt back, and not the exit of a physical one."""
    exits_behind_sti(ran, "masked, STI")
    assert ends(ran, "masked, no STI") == (GOES_ON, NOBODY)
    assert ends(ran, "masked, host's IF") == (exits.INTR, VECTOR)
