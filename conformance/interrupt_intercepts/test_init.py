"""INIT in a guest: its intercept, and what VM_CR.R_INIT makes of it (15.13.4, 15.21.8)."""

from conformance.gif.init import REDIRECTED, SX, init_source, is_gone, redirected, said
from conformance.gif.interrupts import source
from conformance.intercepts.tried import GOES_ON, Changes
from conformance.interrupt_intercepts.guests import NOBODY, ends, interruptible
from conformance.vmrun.visits import A_WHILE, Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
from harness.machine.vmcb import FIELDS
from harness.model import exits
from harness.model.registers import Misc1

EXITCODE = FIELDS["exitcode"].offset
EXITED, PENDING_NO_MORE = "exit INIT", "INIT is no longer pending"
SAYS_HOW = init_source(f'''
    cmp dword [rax + {EXITCODE}], {exits.INIT:#x}
    jne other
    say "{EXITED}"
other:
    stgi
    wait_a_little
    say "{PENDING_NO_MORE}"
''')
"""RAX is the VMCB's address after #VMEXIT as it was before. STGI lets the INIT in, which ends the program."""

INTERCEPTED = visits(
    {
        "not sent": Visit(interruptible(flags=0, intercepts=Misc1.INIT), "clgi"),
        "sent": Visit(interruptible(flags=0, intercepts=Misc1.INIT), init_source("clgi\nsend_init"), SAYS_HOW),
    }
)


@requirement("SVM-15.13.4-001")
@executes(INTERCEPTED)
def test_init_exits(ran: Seen) -> None:
    """An INIT exits with 63h, and without one the guest goes on."""
    assert ran.vmrun("not sent").exit == GOES_ON
    assert said(ran, EXITED) == [EXITED]


@requirement("SVM-15.13.4-002")
@executes(INTERCEPTED)
def test_intercepted_init_stays_pending(ran: Seen) -> None:
    """After the exit the INIT is still there: at STGI the processor is gone."""
    assert said(ran, EXITED, PENDING_NO_MORE) == [EXITED]
    is_gone(ran)


WAITS = init_source("clgi\nsend_init_if_redirected")
TAKES = source("stgi\nwait_a_little")
CATCHES_SX: Changes = {"intercept_exceptions": 1 << SX}
GUESTS = visits(
    {
        "intercepted": Visit(interruptible(flags=0, intercepts=Misc1.INIT, **CATCHES_SX), WAITS, TAKES),
        "redirected": Visit(interruptible(flags=0, intercepts=0, **CATCHES_SX), WAITS, TAKES),
    },
    first=REDIRECTED,
)


@requirement("SVM-15.21.8-003")
@executes(GUESTS)
def test_init_becomes_a_security_exception_of_the_guest(ran: Seen) -> None:
    """With R_INIT set and without its intercept, an INIT raises #SX in the guest, which exits with 5Eh."""
    redirected(ran)
    assert hex(ran.vmrun("redirected").after.exitcode) == hex(exits.EXCEPTION + SX)


@requirement("SVM-15.21.8-004")
@executes(GUESTS)
def test_intercept_of_init_comes_before_the_redirection(ran: Seen) -> None:
    """With R_INIT set, and INIT and #SX intercepted, it exits with 63h; without the intercept of INIT with 5Eh."""
    redirected(ran)
    seen = [ran.vmrun(name).after.exitcode for name in ("intercepted", "redirected")]
    assert seen == [exits.INIT, exits.EXCEPTION + SX]


@requirement("SVM-15.21.8-002")
@executes(GUESTS)
def test_redirected_init_is_no_longer_pending(ran: Seen) -> None:
    """After the #SX of a guest nothing is left for the host to take at STGI."""
    redirected(ran)
    assert ends(ran, "redirected") == (exits.EXCEPTION + SX, NOBODY)


SENDS_INIT_ITSELF = f"""
    mov edi, 0xFEE00000
    mov dword [edi + 0xF0], 0x1FF
    mov edx, [edi + 0x20]
    mov [edi + 0x310], edx
    mov dword [edi + 0x300], 0x4500
    {A_WHILE}
    vmmcall
"""


@requirement("SVM-15.21.8-001")
@executes(visits({"guest": Visit(guest(Mode.PROTECTED, SENDS_INIT_ITSELF))}))
def test_init_is_taken_in_a_guest(ran: Seen) -> None:
    """Without intercept and R_INIT an INIT initializes the processor: the guest is gone, and firmware runs."""
    is_gone(ran)
