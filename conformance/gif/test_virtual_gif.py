"""Virtual GIF: a guest's own STGI and CLGI change V_GIF, which holds its virtual interrupts alone (15.33.2)."""

from conformance.event_injection.guests import NOTHING, OWN_CODE, Tables, taken
from conformance.gif.interrupts import NMI, VECTOR, source
from conformance.intercepts.tried import GOES_ON, NOT_RUN
from conformance.vmrun.guests import each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1, Misc2, Rflags, Vintr

ON, OFF = Vintr.V_GIF_ENABLE | Vintr.V_GIF, int(Vintr.V_GIF_ENABLE)
"""Virtual GIF in use, with V_GIF=1 and with V_GIF=0."""

STGI, CLGI = 0x84, 0x85
"""Exit codes."""


def executing(code: str, vintr: int, **changes: int) -> Guest:
    """A guest whose last instruction is VMMCALL."""
    return guest(Mode.LONG, f"{code}\nvmmcall", vintr=vintr, exitcode=NOT_RUN, **changes)


LEFT = {
    "neither, clear": (executing("nop", OFF), 0),
    "neither, set": (executing("nop", ON), 1),
    "STGI": (executing("stgi", OFF), 1),
    "CLGI": (executing("clgi", ON), 0),
    "STGI, CLGI": (executing("stgi\nclgi", OFF), 0),
    "CLGI, STGI": (executing("clgi\nstgi", ON), 1),
}
"""Guests, and V_GIF as they leave it."""

INTERCEPTED = {
    "STGI": executing("stgi", OFF, intercept_misc2=Misc2.VMRUN | Misc2.VMMCALL | Misc2.STGI),
    "CLGI": executing("clgi", ON, intercept_misc2=Misc2.VMRUN | Misc2.VMMCALL | Misc2.CLGI),
}

CHANGED = {"": vmruns({name: it for name, (it, _) in LEFT.items()})}
EXITED = {"": vmruns(INTERCEPTED)}


def leaves(ran: Seen, *names: str) -> None:
    """These come to their VMMCALL, and V_GIF is then what it should be."""
    each_ends(ran, dict.fromkeys(names, GOES_ON))
    seen = {name: ran.vmrun(name).after.vintr for name in names}
    expected = {name: LEFT[name][1] for name in names}
    assert {name: int(bool(vintr & Vintr.V_GIF)) for name, vintr in seen.items()} == expected
    assert all(vintr & Vintr.V_GIF_ENABLE for vintr in seen.values())


@requirement("SVM-15.33.2-001")
@executes(CHANGED, Cpus.FULLEST)
def test_stgi_sets_v_gif(ran: Seen) -> None:
    """STGI sets V_GIF and does not exit, which stays clear without it."""
    leaves(ran, "STGI", "neither, clear")


@requirement("SVM-15.33.2-006")
@executes(CHANGED, Cpus.FULLEST)
def test_clgi_clears_v_gif(ran: Seen) -> None:
    """CLGI clears V_GIF and does not exit, which stays set without it."""
    leaves(ran, "CLGI", "neither, set")


@requirement("SVM-15.33.2-007")
@executes(CHANGED, Cpus.FULLEST)
def test_v_gif_is_written_back(ran: Seen) -> None:
    """After #VMEXIT the VMCB has the V_GIF that the guest's last STGI or CLGI left."""
    leaves(ran, *LEFT)


@requirement("SVM-15.33.2-005")
@executes(EXITED, Cpus.FULLEST)
def test_intercepts_come_before_v_gif(ran: Seen) -> None:
    """STGI and CLGI that are intercepted exit with 84h and 85h, and leave V_GIF alone."""
    each_ends(ran, {"STGI": STGI, "CLGI": CLGI})
    assert [ran.vmrun(name).after.vintr & Vintr.V_GIF for name in INTERCEPTED] == [0, Vintr.V_GIF]


VIRTUAL, PRIORITY = 0x80, 0xF << 16

TOUCHES = "".join(f"mov rax, [{places.DATA + n * places.PAGE:#x}]\n" for n in range(3)) + "push rax\npop rax"
"""Every page that taking an interrupt needs: what a hypervisor below must do for one comes before it, then."""

LATER = "mov edi, 1\nstgi\nnop\nnop\nmov edi, 2\nnop"


def interrupted(vintr: int, code: str, irq: int = Vintr.V_IRQ) -> Guest:
    """A guest with RFLAGS.IF=1 for which a virtual interrupt waits; EDI says how far it had come when it was taken."""
    return Tables().guest(
        0,
        f"nop\nnop\n{code}\n{OWN_CODE}",
        rflags=Rflags.IF | 2,
        exitcode=NOT_RUN,
        vintr=vintr | irq | Vintr.V_INTR_MASKING | PRIORITY | VIRTUAL << 32,
    )


FIRST = {"clear": interrupted(OFF, TOUCHES), "set": interrupted(ON, LATER)}
"""In this order: nothing has been in V_GIF before."""

THEN = {
    "no interrupt": interrupted(ON, TOUCHES, irq=0),
    "clear": interrupted(OFF, TOUCHES),
    "clear, STGI": interrupted(OFF, LATER),
}


@requirement("SVM-15.33.2-002")
@executes({"": vmruns(THEN)}, Cpus.FULLEST)
def test_v_gif_holds_virtual_interrupts(ran: Seen) -> None:
    """With V_GIF=0 a virtual interrupt is held, and taken once the guest executes STGI."""
    assert (taken(ran, "clear"), ran.vmrun("clear").after.vintr & Vintr.V_IRQ) == (NOTHING, Vintr.V_IRQ)
    assert (taken(ran, "clear, STGI"), ran.vmrun("clear, STGI").step.registers["rdi"]) == (VIRTUAL, 1)


@requirement("SVM-15.33.2-003")
@executes({"": vmruns(FIRST)}, Cpus.FULLEST)
def test_v_gif_is_loaded(ran: Seen) -> None:
    """A virtual interrupt is taken at once when VMRUN finds V_GIF=1, and not when it finds V_GIF=0."""
    assert (taken(ran, "set"), ran.vmrun("set").step.registers["rdi"]) == (VIRTUAL, 0)
    assert taken(ran, "clear") == NOTHING


TAKES = source("stgi\nsti\nwait_a_little\ncli")
"""The host takes what still waits: that ends the step."""


def physical(what: int, vintr: int) -> Visit:
    """A guest with RFLAGS.IF=1, intercepting interrupts and NMIs, for which the host has sent one."""
    it = Tables().guest(
        0,
        OWN_CODE,
        rflags=Rflags.IF | 2,
        exitcode=NOT_RUN,
        intercept_misc1=Misc1.SHUTDOWN | Misc1.INTR | Misc1.NMI,
        vintr=vintr,
    )
    return Visit(it, source(f"clgi\nsend {what:#x}"), TAKES)


SENT = {"INTR": (0x4000 + VECTOR, exits.INTR, VECTOR), "NMI": (0x4400, exits.NMI, NMI)}
PHYSICAL = visits(
    {
        f"{name}, {state}": physical(what, vintr)
        for name, (what, _, _) in SENT.items()
        for state, vintr in (("set", ON), ("clear", OFF))
    }
)


@requirement("SVM-15.33.2-004")
@executes(PHYSICAL, Cpus.FULLEST)
def test_v_gif_holds_no_physical_interrupt(ran: Seen) -> None:
    """An intercepted interrupt or NMI exits at once with V_GIF=0 as with V_GIF=1, and the host takes it after STGI."""
    for name, (_, code, vector) in SENT.items():
        for state in ("set", "clear"):
            seen = ran.vmrun(f"{name}, {state}")
            assert (seen.after.exitcode, seen.after.rip - seen.before.rip) == (code, 0), seen.name
            assert ran[seen.name].vector == vector, seen.name
