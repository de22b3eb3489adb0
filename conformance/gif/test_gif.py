"""STGI and CLGI, and what GIF holds back in the host (15.17)."""

from conformance.gif.interrupts import NMI, VECTOR, source
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm

HELD = "clgi\n{send}\n{allow}\nwait_a_little\ninc ebx\nstgi\nwait_a_little\ninc ebx"
"""EBX at the end: 0 when it is taken with GIF=0, 1 when it is taken at STGI, 2 when it is not taken at all."""

AT_ONCE = "stgi\n{send}\n{allow}\nwait_a_little\ninc ebx"
"""The contrast: EBX is 0 when it is taken with GIF=1."""

CLEAR_AGAIN = "clgi\nstgi\nclgi\n{send}\n{allow}\nwait_a_little\ninc ebx\nstgi\nwait_a_little\ninc ebx"

KINDS = {"INTR": {"send": "send_interrupt", "allow": "sti"}, "NMI": {"send": "send_nmi", "allow": "nop"}}
FORMS = {"held": HELD, "at once": AT_ONCE, "cleared again": CLEAR_AGAIN}

STEPS = [
    code(source(form.format(**kind)), name=f"{name} {how}")
    for name, kind in KINDS.items()
    for how, form in FORMS.items()
]
SENT = {"": Program(steps=(*enable_svm(), *STEPS))}


def taken(ran: Seen, name: str) -> tuple[int | None, int]:
    """The vector that ended the step, and how far it had come."""
    return ran[name].vector, ran[name].registers["rbx"] & 0xFFFF_FFFF


@requirement("SVM-15.17-001")
@executes(SENT)
def test_stgi_sets_gif(ran: Seen) -> None:
    """STGI sets GIF: an interrupt that was held is taken there, and not before."""
    assert taken(ran, "INTR held") == (VECTOR, 1)


@requirement("SVM-15.17-017")
@executes(SENT)
def test_clgi_clears_gif(ran: Seen) -> None:
    """CLGI clears GIF, also after an STGI: an interrupt is held from there on, which is taken at once without CLGI."""
    assert taken(ran, "INTR cleared again") == (VECTOR, 1)
    assert taken(ran, "INTR at once") == (VECTOR, 0)


@requirement("SVM-15.17-002")
@executes(SENT)
def test_interrupt_is_held(ran: Seen) -> None:
    """With GIF=0 an interrupt is held pending though RFLAGS.IF=1, and with GIF=1 it is taken."""
    assert [taken(ran, f"INTR {how}") for how in ("held", "at once")] == [(VECTOR, 1), (VECTOR, 0)]


@requirement("SVM-15.17-003")
@executes(SENT)
def test_nmi_is_held(ran: Seen) -> None:
    """With GIF=0 an NMI is held pending until STGI, and with GIF=1 it is taken."""
    assert [taken(ran, f"NMI {how}") for how in ("held", "at once")] == [(NMI, 1), (NMI, 0)]
