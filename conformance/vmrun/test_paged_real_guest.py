"""Paged real mode is real mode (15.19)."""

from conformance.intercepts.tried import NOT_RUN
from conformance.vmrun.guests import VMMCALL, each_ends
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen

TABLE, HANDLER, WORD = places.LOW_DATA, places.LOW_DATA + 0x1000, places.LOW_DATA + 0x2000
"""An interrupt vector table, where its entry of :data:`VECTOR` leads, and a word for data."""
VECTOR, CONTENT, SEGMENT = 0x80, 0x1234, WORD >> 4
CODE = f"mov ax, {SEGMENT:#x}\nmov ds, ax\nmov bx, [0]\nint {VECTOR:#x}\nthere: vmmcall"
HANDLES = "pop cx\npop dx\nmov si, 0x4321\nvmmcall"
"""CX and DX are where INT would come back to."""


def interrupts(mode: Mode) -> Guest:
    """A guest that loads DS, reads by it, and executes INT n."""
    it = guest(mode, CODE, idtr__base=TABLE, idtr__limit=0x3FF, exitcode=NOT_RUN)
    table = bytes(4 * VECTOR) + (HANDLER >> 4 << 16).to_bytes(4, "little")
    return it.having({TABLE: table, HANDLER: assemble(HANDLES, 16), WORD: CONTENT.to_bytes(2, "little")})


GUESTS = {"paged": interrupts(Mode.PAGED_REAL), "not paged": interrupts(Mode.REAL)}


@requirement("SVM-15.19-004")
@executes({"": vmruns(GUESTS)})
def test_paged_real_mode_is_real_mode(ran: Seen) -> None:
    """With paging as without, DS has 16 times its selector as base, and INT n goes by the interrupt vector table."""
    each_ends(ran, dict.fromkeys(GUESTS, VMMCALL))
    for name, it in GUESTS.items():
        seen = ran.vmrun(name)
        registers = seen.step.registers
        behind = len(it.memory[it.entry]) - 3
        assert (seen.after.ds.selector, seen.after.ds.base, registers["rbx"]) == (SEGMENT, SEGMENT << 4, CONTENT)
        assert (registers["rcx"], registers["rdx"], registers["rsi"]) == (behind, it.vmcb.cs.selector, 0x4321)
