"""GIF at VMRUN (15.5.1, 15.17): an interrupt that the host holds back with GIF=0 reaches the guest."""

from conformance.vmrun.guests import VMMCALL
from conformance.vmrun.visits import A_WHILE, Visit, visits
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
from harness.model.registers import Misc1, Rflags

VECTOR = 0x40
INTR = 0x60
APIC, SPURIOUS, COMMAND = 0xFEE0_0000, 0xF0, 0x300
FIXED_TO_SELF = 1 << 18 | VECTOR

GUEST = guest(Mode.LONG, f"{A_WHILE}vmmcall", rflags=Rflags.IF | 2, intercept_misc1=Misc1.SHUTDOWN | Misc1.INTR)
# The local APIC is enabled; with GIF=0, RFLAGS.IF is no matter.
HOLDS = f"mov ebx, {APIC:#x}\nmov dword [rbx + {SPURIOUS:#x}], 0x1FF\nclgi\nsti"
SENDS = f"mov dword [rbx + {COMMAND:#x}], {FIXED_TO_SELF:#x}\nnop"
LETS_GO = "mov r8d, 1\nstgi\nnop\nmov r8d, 2"
HELD = visits(
    {
        "nothing": Visit(GUEST, before=HOLDS, after=LETS_GO),
        "pending": Visit(GUEST, before=f"{HOLDS}\n{SENDS}", after=LETS_GO),
    }
)


@requirement("SVM-15.5.1-033")
@executes(HELD)
def test_vmrun_sets_gif(ran: Seen) -> None:
    """An interrupt that the host holds back with GIF=0 comes in the guest: VMRUN sets GIF."""
    ended = {name: hex(ran.vmrun(name).after.exitcode) for name in ("nothing", "pending")}
    assert ended == {"nothing": hex(VMMCALL), "pending": hex(INTR)}
    assert (ran["nothing"].vector, ran["nothing"].registers["r8"]) == (None, 2)
    assert (ran["pending"].vector, ran["pending"].registers["r8"]) == (VECTOR, 1), "the host never held it back"
