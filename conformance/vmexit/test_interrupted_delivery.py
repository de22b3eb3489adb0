"""EXITINTINFO: the event during whose delivery an intercept came (15.7.2, 15.7.3)."""

import struct
from dataclasses import dataclass

from conformance.event_injection.guests import Tables, taken
from conformance.exception_intercepts.guests import ABSENT, CODE, IDT_NOWHERE, NON_CANONICAL, raises
from conformance.gif.interrupts import source
from conformance.intercepts.tried import NOWHERE, Changes, Try
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode
from harness.lab.program import SCRATCH_END
from harness.lab.seen import Seen
from harness.machine.vmcb import FIELDS
from harness.model import exits
from harness.model.registers import Event, Rflags, Vintr

NP, PF = (exits.EXCEPTION + vector for vector in (11, 14))
INTERRUPT, NMI, EXCEPTION, SOFTWARE = (kind << 8 for kind in (0, 2, 3, 4))
VECTOR = 0x80
EDGE = SCRATCH_END - 64
ACROSS: Changes = {"idtr__base": EDGE, "idtr__limit": 0xFFF}
"""The gates of vectors 0 to 3 are there, and not present; all others are in a page that is not there."""

ABSENT_GATES = {EDGE: struct.pack("<HHBBHQ", 0, CODE, 0, 0x0E, 0, 0) * 4}

_CODES = places.DATA + 0x10 * places.PAGE


@dataclass(frozen=True)
class Cut:
    """What cuts a delivery short, and what EXITINTINFO shall say: an event without V, or ``None``."""

    it: Visit
    event: int | None
    code: int = PF


def goes(it: Try, place: int, **changes: int) -> Visit:
    """A visit to the guest that tries this."""
    guest = it.guest(_CODES + place * places.PAGE).having(ABSENT_GATES)
    guest.vmcb.update(**changes)
    return Visit(guest)


def idle(vintr: int = 0) -> Guest:
    """A guest with interrupts on, that does nothing by itself."""
    return raises("nop\nnop\nnop", PF, rflags=Rflags.IF | 2, vintr=vintr, **IDT_NOWHERE).guest(_CODES)


def sent(what: int) -> str:
    """Code of the host that sends itself this, with GIF=0."""
    return source(f"clgi\nsend {what:#x}")


ERROR = Event.EV
OVERFLOW = "mov cl, 0x7F\nadd cl, cl"
CUTS = {
    "#DE": Cut(goes(raises("div cl", PF, **IDT_NOWHERE), 1), EXCEPTION),
    "#UD": Cut(goes(raises("ud2", PF, **IDT_NOWHERE), 2), EXCEPTION | 6),
    "#GP": Cut(goes(raises("mov al, [rcx]", PF, rcx=NON_CANONICAL, **IDT_NOWHERE), 3), EXCEPTION | ERROR | 13),
    "#NP": Cut(goes(raises("mov ds, ecx", PF, rcx=ABSENT, **IDT_NOWHERE), 4), EXCEPTION | ERROR | ABSENT << 32 | 11),
    "INT3": Cut(goes(raises("int3", PF, **IDT_NOWHERE), 5), EXCEPTION | 3),
    "INTO": Cut(goes(raises("into", PF, before=OVERFLOW, mode=Mode.PAGED, **IDT_NOWHERE), 6), EXCEPTION | 4),
    "INT1": Cut(goes(raises("db 0xF1", PF, **IDT_NOWHERE), 7), EXCEPTION | 1),
    "INTn": Cut(goes(raises(f"int {VECTOR:#x}", PF, **IDT_NOWHERE), 8), SOFTWARE | VECTOR),
    "INT 14": Cut(goes(raises("int 14", PF, **IDT_NOWHERE), 9), SOFTWARE | 14),
    "interrupt": Cut(Visit(idle(), sent(0x4000 + VECTOR)), INTERRUPT | VECTOR),
    "NMI": Cut(Visit(idle(), sent(0x4400)), NMI | 2),
    "virtual interrupt": Cut(Visit(idle(vintr=Vintr.V_IRQ | 0xF << 16 | VECTOR << 32)), INTERRUPT | VECTOR),
    "#DF of #DE and #NP": Cut(goes(raises("div cl", PF, **ACROSS), 10), EXCEPTION | ERROR | 8),
    "#NP after #DE": Cut(goes(raises("div cl", NP, **ACROSS), 11), EXCEPTION, NP),
    "nothing": Cut(goes(raises("mov al, [rcx]", PF, rcx=NOWHERE, **IDT_NOWHERE), 12), None),
}
PROGRAM = visits({name: cut.it for name, cut in CUTS.items()})


def cut_short(ran: Seen, *names: str) -> dict[str, int]:
    """EXITINTINFO of each, whose exit code is that of what cut it short."""
    for name in names:
        assert ran.vmrun(name).after.exitcode == CUTS[name].code, f"{name}: {ran.vmrun(name).after.exitcode:#x}"
    return {name: ran.vmrun(name).after.exitintinfo for name in names}


def say(ran: Seen, mask: int, *names: str) -> None:
    """These bits of EXITINTINFO are those of the event."""
    seen = {name: f"{info & mask:#x}" for name, info in cut_short(ran, *names).items()}
    assert seen == {name: f"{((CUTS[name].event or 0) | Event.V) & mask:#x}" for name in names}


TYPE = Event.V | 7 << 8


@requirement("SVM-15.7.2-001")
@executes(PROGRAM)
def test_valid(ran: Seen) -> None:
    """V is 1 when a #PF exits on the way to the handler of #DE, and 0 when it exits by itself."""
    say(ran, Event.V, "#DE")
    assert not cut_short(ran, "nothing")["nothing"] & Event.V


@requirement("SVM-15.7.2-002")
@executes(PROGRAM)
def test_vector(ran: Seen) -> None:
    """Bits 7:0 are the vector."""
    say(ran, Event.V | 0xFF, "#DE", "#UD", "#GP", "#NP", "INTn", "INT 14")


@requirement("SVM-15.7.2-003")
@executes(PROGRAM)
def test_type_of_an_interrupt(ran: Seen) -> None:
    """TYPE is 0 for an external interrupt."""
    say(ran, TYPE | 0xFF, "interrupt")


@requirement("SVM-15.7.2-012")
@executes(PROGRAM)
def test_type_of_a_virtual_interrupt(ran: Seen) -> None:
    """TYPE is 0 for a virtual interrupt."""
    say(ran, TYPE | 0xFF, "virtual interrupt")


@requirement("SVM-15.7.2-004")
@executes(PROGRAM)
def test_type_of_an_nmi(ran: Seen) -> None:
    """TYPE is 2 for an NMI."""
    say(ran, TYPE, "NMI")


@requirement("SVM-15.7.2-005")
@executes(PROGRAM)
def test_type_of_an_exception(ran: Seen) -> None:
    """TYPE is 3 for a fault."""
    say(ran, TYPE, "#DE", "#UD", "#GP", "#NP")


@requirement("SVM-15.7.2-013")
@executes(PROGRAM)
def test_type_of_int3_and_into(ran: Seen) -> None:
    """TYPE is 3 for INT3 and INTO."""
    say(ran, TYPE | 0xFF, "INT3", "INTO")


@requirement("SVM-15.7.2-014")
@executes(PROGRAM)
def test_type_of_int1(ran: Seen) -> None:
    """TYPE is 3 for INT1."""
    say(ran, TYPE | 0xFF, "INT1")


@requirement("SVM-15.7.2-006")
@executes(PROGRAM)
def test_type_of_intn(ran: Seen) -> None:
    """TYPE is 4 for INTn, be it with the vector of an exception."""
    say(ran, TYPE, "INTn", "INT 14")


@requirement("SVM-15.7.2-007")
@executes(PROGRAM)
def test_error_code(ran: Seen) -> None:
    """EV is 1 and bits 63:32 are the error code of an exception that has one."""
    say(ran, Event.V | Event.EV | 0xFFFF_FFFF << 32, "#GP", "#NP")


@requirement("SVM-15.7.2-015")
@executes(PROGRAM)
def test_no_error_code(ran: Seen) -> None:
    """EV is 0 for an event that has none, INTn with the vector of #PF included."""
    say(ran, Event.V | Event.EV, "#DE", "#UD", "INTn", "INT 14", "interrupt", "NMI")


@requirement("SVM-15.7.2-008")
@executes(PROGRAM)
def test_chain(ran: Seen) -> None:
    """Of #DE, #NP and #PF the last exits, and the event is what the others combine to: #DF."""
    say(ran, 0xFFFF_FFFF_FFFF_FFFF, "#DF of #DE and #NP")


@requirement("SVM-15.7.2-009")
@executes(PROGRAM)
def test_intercepted_exception_is_no_event(ran: Seen) -> None:
    """What exits is told by EXITCODE alone: #NP while #DE is delivered has the event #DE, and #PF by itself none."""
    say(ran, Event.V | 0xFF, "#NP after #DE")
    assert not cut_short(ran, "nothing")["nothing"] & Event.V


IDTR_BASE, EVENTINJ, EXITINTINFO = (FIELDS[name].offset for name in ("idtr.base", "eventinj", "exitintinfo"))
AGAIN = f"""
    mov rcx, [rax + {EXITINTINFO}]
    mov [rax + {EVENTINJ}], rcx
    mov ecx, {places.DATA + 2 * places.PAGE:#x}
    mov [rax + {IDTR_BASE}], rcx
    vmrun
"""
"""The host gives the event back, with an IDT that is there."""


def interrupted(code: str) -> Guest:
    """A guest with handlers, whose IDT is elsewhere at first."""
    it = Tables().guest(0, code)
    it.vmcb.idtr.base = NOWHERE
    it.vmcb.intercept_exceptions |= 1 << PF - exits.EXCEPTION
    return it


GIVEN_BACK = visits(
    {"#UD": Visit(interrupted("ud2"), after=AGAIN), "INTn": Visit(interrupted("int 0x80"), after=AGAIN)}
)


@requirement("SVM-15.7.2-010")
@executes(GIVEN_BACK)
def test_event_is_delivered_when_given_back(ran: Seen) -> None:
    """EXITINTINFO that is copied to EVENTINJ is delivered by the next VMRUN: the handler runs."""
    assert taken(ran, "#UD") == 6


@requirement("SVM-15.7.3-002")
@executes(GIVEN_BACK)
def test_delivered_event_is_forgotten(ran: Seen) -> None:
    """An exit in the handler of an event that was cut short before has V=0."""
    assert taken(ran, "#UD") == 6
    assert not ran.vmrun("#UD").after.exitintinfo & Event.V
