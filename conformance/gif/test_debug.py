"""Debug exceptions with GIF=0 (15.17): those of breakpoint registers are discarded, those of TF are not."""

from conformance.gif.interrupts import VECTOR, source
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm
from harness.model.registers import Rflags

DB = 1
HERE = places.DATA
WRITES = 0xD_0401
"""DR7: breakpoint 0 is on, for writes of four bytes."""

HOLDS = "clgi\nsend_interrupt\nsti\nwait_a_little\ncli\ninc ebx\n"
"""With GIF=0 an interrupt is held: EBX is 0 if it is taken."""

MATCHES = f"""
    mov eax, {HERE:#x}
    mov dr0, rax
    mov eax, {WRITES:#x}
    mov dr7, rax
    mov dword [{HERE:#x}], eax
    nop
    inc ebx
    mov eax, 0x400
    mov dr7, rax
    stgi
    nop
    inc ebx
"""
TRACES = f"""
    pushf
    or dword [rsp], {int(Rflags.TF):#x}
    popf
    nop
    inc ebx
    pushf
    and dword [rsp], {~int(Rflags.TF) & 0xFFFF_FFFF:#x}
    popf
"""
STEPS = [
    code(source(first + what), name=f"{name} {how}")
    for name, what in (("breakpoint", MATCHES), ("TF", TRACES))
    for how, first in (("with GIF=0", HOLDS), ("with GIF=1", "stgi\ninc ebx\n"))
]
"""EBX counts: 1 where GIF was right, 2 behind what raises #DB, 3 when STGI has brought nothing that was held."""

ENABLED = {"": program(*enable_svm(), *STEPS, memory={HERE: bytes(8)})}


def came_to(ran: Seen, name: str) -> tuple[int | None, int]:
    """The vector that ended the step, and how far it had come."""
    assert ran[name].vector != VECTOR, "GIF was not 0"
    return ran[name].vector, ran[name].registers["rbx"] & 0xFFFF_FFFF


@requirement("SVM-15.17-007")
@executes(ENABLED)
def test_breakpoint_is_discarded(ran: Seen) -> None:
    """With GIF=0 a write that matches DR0 raises no #DB, not even at STGI; with GIF=1 it does."""
    assert [came_to(ran, f"breakpoint with GIF={gif}") for gif in (0, 1)] == [(None, 3), (DB, 1)]


@requirement("SVM-15.17-008")
@executes(ENABLED)
def test_single_step_is_not_held(ran: Seen) -> None:
    """With GIF=0 as with GIF=1 RFLAGS.TF raises #DB after the next instruction."""
    assert [came_to(ran, f"TF with GIF={gif}") for gif in (0, 1)] == [(DB, 1)] * 2
