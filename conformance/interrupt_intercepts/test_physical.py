"""Interrupts and NMIs that wait for the processor when a guest begins (15.13.1, 15.13.2)."""

from conformance.event_injection.guests import OWN_CODE, taken
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
    progress,
    sent,
    takers,
)
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1

NMI, AC = 2, 17
"""Vectors that are sent: 17 is an interrupt here, though it is that of an exception, too."""

TO_ME = sent(0x4000 + VECTOR)
HIGH_TPR, LOW_TPR = "mov r9d, 15\nmov cr8, r9", "xor r8d, r8d\nmov cr8, r8\n"

WAITING = visits(
    {
        "intercepted": Visit(interruptible(), TO_ME, TAKES),
        "not intercepted": Visit(interruptible(intercepts=0), TO_ME, TAKES),
        "IF clear": Visit(interruptible(flags=0), TO_ME, TAKES),
        "IF set later": Visit(interruptible(STI, flags=0), TO_ME, TAKES),
        "in a shadow": Visit(interruptible(f"nop\n{OWN_CODE}", interrupt_state=1), TO_ME, TAKES),
        "TPR above it": Visit(interruptible(), sent(0x4000 + VECTOR, HIGH_TPR), LOW_TPR + TAKES),
        "IF of the host alone": Visit(interruptible(flags=0, vintr=MASKED), sent(0x4000 + VECTOR, "sti"), TAKES),
        "IF of the guest alone": Visit(interruptible(vintr=MASKED), TO_ME, TAKES),
        "vector of an exception": Visit(
            interruptible(intercepts=0, intercept_exceptions=1 << AC), sent(0x4000 + AC), TAKES
        ),
        "NMI": Visit(interruptible(intercepts=Misc1.NMI), sent(0x4400), TAKES),
        "NMI, IF clear": Visit(interruptible(flags=0, intercepts=Misc1.NMI), sent(0x4400), TAKES),
        "NMI, not intercepted": Visit(interruptible(intercepts=0), sent(0x4400), TAKES),
    }
)  # fmt: skip


@requirement("SVM-15.13-001")
@executes(WAITING)
def test_interrupt_exits(ran: Seen) -> None:
    """An interrupt exits with 60h before the guest's first instruction."""
    assert (ran.vmrun("intercepted").after.exitcode, progress(ran, "intercepted")) == (exits.INTR, 0)


@requirement("SVM-15.13-003")
@executes(WAITING)
def test_interrupt_stays_pending(ran: Seen) -> None:
    """The host takes it after STGI; one that the guest has taken it does not take again."""
    assert ends(ran, "intercepted") == (exits.INTR, VECTOR)
    assert ends(ran, "not intercepted") == (GOES_ON, NOBODY)


@requirement("SVM-15.13.1-002")
@executes(WAITING)
def test_exit_comes_when_the_interrupt_would(ran: Seen) -> None:
    """Not with IF=0 nor below the TPR, and after STI one instruction later."""
    assert [ends(ran, name) for name in ("IF clear", "TPR above it")] == [(GOES_ON, VECTOR)] * 2
    assert ends(ran, "IF set later") == (exits.INTR, VECTOR)
    assert progress(ran, "IF set later") == BEHIND_STI


@requirement("SVM-15.13.1-002")
@executes(WAITING)
def test_exit_waits_for_the_shadow(ran: Seen) -> None:
    """In an interrupt shadow the exit comes behind the guest's first instruction."""
    assert (ends(ran, "in a shadow"), progress(ran, "in a shadow")) == ((exits.INTR, VECTOR), 1)


@requirement("SVM-15.13.1-002")
@executes(WAITING)
def test_masked_it_is_the_hosts_flag_that_counts(ran: Seen) -> None:
    """With V_INTR_MASKING=1 the IF that the host had at VMRUN decides, and not the guest's."""
    assert ends(ran, "IF of the host alone") == (exits.INTR, VECTOR)
    assert ends(ran, "IF of the guest alone") == (GOES_ON, VECTOR)


@requirement("SVM-15.13.1-003")
@executes(WAITING)
def test_guest_takes_what_is_not_intercepted(ran: Seen) -> None:
    """Without the intercept and with V_INTR_MASKING=0 the guest's handler runs."""
    assert taken(ran, "not intercepted") == VECTOR


@requirement("SVM-15.13-002")
@executes(WAITING)
def test_interrupt_is_no_exception(ran: Seen) -> None:
    """An interrupt with the vector of #AC does not look at the intercept of #AC: the guest's handler runs."""
    assert taken(ran, "vector of an exception") == AC


@requirement("SVM-15.13.2-001")
@executes(WAITING)
def test_nmi_exits(ran: Seen) -> None:
    """An NMI exits with 61h, whatever IF is."""
    assert {ran.vmrun(name).after.exitcode for name in ("NMI", "NMI, IF clear")} == {exits.NMI}


@requirement("SVM-15.13.2-003")
@executes(WAITING)
def test_nmi_stays_pending(ran: Seen) -> None:
    """The host takes it after STGI; one that the guest has taken it does not take again."""
    assert ends(ran, "NMI") == (exits.NMI, NMI)
    assert (taken(ran, "NMI, not intercepted"), ran["NMI, not intercepted"].vector) == (NMI, NOBODY)


@requirement("SVM-15.21.9-001")
@executes(visits({"NMI": Visit(interruptible(LINGERS, flags=0), sent(0x4400), TAKES)}))
def test_guest_takes_an_nmi_that_is_not_intercepted(ran: Seen) -> None:
    """Without the intercept of NMI the guest's handler of vector 2 runs, whatever IF is, and nothing is left."""
    assert takers(ran, "NMI") == (NMI, NOBODY)
