"""Guests with handlers that meet interrupts: physical ones that the host lets wait for them, and virtual ones."""

from conformance.event_injection.guests import INTERRUPT, OWN_CODE, Tables
from conformance.gif.interrupts import source
from harness.lab.guest import Guest
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1, Rflags, Vintr

VECTOR = 0x80
PRIORITY = 5
"""Of a virtual interrupt; V_TPR holds it back from there on."""

STI, BEHIND_STI = f"nop\nsti\nnop\n{OWN_CODE}", 3
"""Code that allows interrupts, and where the first can come."""

LINGERS = f"xor eax, eax\ncpuid\n{OWN_CODE}"
"""Code that a hypervisor below sees on its way: it may let an interrupt in no earlier."""

MASKED = int(Vintr.V_INTR_MASKING)

NOBODY = None
"""The host takes none."""

TAKES = source("stgi\nsti\nwait_a_little\ncli")
"""The host takes what still waits: that ends the step."""

TOUCHES = Tables().guest(INTERRUPT | VECTOR)
"""A guest that is to come first: the memory that a delivery needs is there for others, where a hypervisor below has
to map it when it is touched (what exits meanwhile is a subject of its own, 15.7.2)."""


def sent(what: int, then: str = "") -> str:
    """Code that sends itself an interrupt with GIF=0, where it waits for VMRUN."""
    return source(f"clgi\nsend {what:#x}\n{then}")


def interruptible(
    code: str = OWN_CODE, *, flags: int = Rflags.IF, intercepts: int = Misc1.INTR, **changes: int
) -> Guest:
    """A guest with handlers, and these intercepts."""
    return Tables().guest(0, code, rflags=flags | 2, intercept_misc1=Misc1.SHUTDOWN | intercepts, **changes)


def pending(
    code: str = OWN_CODE, *, flags: int = Rflags.IF, intercepts: int = Misc1.VINTR, vintr: int = MASKED,
    priority: int = PRIORITY, vector: int = VECTOR, **changes: int,
) -> Guest:  # fmt: skip
    """A guest for which a virtual interrupt waits.

    :param vintr: what V_INTR has besides: V_TPR, V_INTR_MASKING, V_IGN_TPR.
    """
    waits = vintr | Vintr.V_IRQ | priority << 16 | vector << 32
    return interruptible(code, flags=flags, intercepts=intercepts, vintr=waits, **changes)


def ends(ran: Seen, name: str) -> tuple[int, int | None]:
    """The guest's exit code, and the vector that the host took after it."""
    return ran.vmrun(name).after.exitcode, ran[name].vector


def takers(ran: Seen, name: str) -> tuple[int, int | None]:
    """What the guest took, or :data:`NOTHING`, until it came to its VMMCALL; and the vector that the host took then."""
    code = ran.vmrun(name).after.exitcode
    assert code == exits.VMMCALL, f"{name}: exit {exits.name(code)}"
    return ran[name].registers["rbx"] & 0xFFFF_FFFF, ran[name].vector


def progress(ran: Seen, name: str) -> int:
    """How far the guest came."""
    seen = ran.vmrun(name)
    return seen.after.rip - seen.before.rip
