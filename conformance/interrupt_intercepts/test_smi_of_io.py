"""An SMI that a guest's OUT raises: the chip set of a PC does that for port B2h (15.13.3)."""

from conformance.gif.smi import HANDLER
from conformance.interrupt_intercepts.guests import LINGERS, interruptible
from conformance.vmrun.guests import each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import Absent, executes, requirement
from harness.lab.seen import Seen, VmrunSeen
from harness.model import exits
from harness.model.registers import Misc1

POWER_MANAGEMENT, DEVICE, ACTIVITY_B = 0x8000_0B00, 0x7113_8086, 0x58
"""PCI function 0:1.3 of a 440FX machine (82371AB), what it is, and its register with APMC_EN."""

APMC_EN = 1 << 25

LETS_OUT_RAISE_SMIS = f"""
    mov eax, {POWER_MANAGEMENT:#x}
    mov dx, 0xCF8
    out dx, eax
    mov dl, 0xFC
    in eax, dx
    mov r8d, eax
    mov eax, {POWER_MANAGEMENT | ACTIVITY_B:#x}
    mov dl, 0xF8
    out dx, eax
    mov dl, 0xFC
    in eax, dx
    or eax, {APMC_EN:#x}
    out dx, eax
    clgi
"""
BEFORE_OUT = "nop\nmov al, 0x55\n"
OUT_AT = 3
VALID = 1 << 33
SIZE_8 = 1 << 36
BREAKPOINTS, ADDRESS_SIZES = 0xF << 44, 7 << 39
"""Fields of EXITINFO1 that say nothing of the access itself; an OUT that is no OUTS has no address."""

GUEST = interruptible(
    f"{BEFORE_OUT}out 0xB2, al\nmov ecx, 200\n.on: loop .on\n{LINGERS}", flags=0, intercepts=Misc1.SMI
)
PROGRAM = visits({"OUT": Visit(GUEST, LETS_OUT_RAISE_SMIS)}, memory=HANDLER)


def exited(ran: Seen) -> VmrunSeen:
    """The guest after the exit of its SMI."""
    if ran["OUT"].registers["r8"] & 0xFFFF_FFFF != DEVICE:
        raise Absent("there is no 82371AB at PCI 0:1.3, which would raise an SMI for an OUT to port B2h")
    each_ends(ran, {"OUT": exits.SMI})
    return ran.vmrun("OUT")


@requirement("SVM-15.13.3-002")
@executes(PROGRAM)
def test_smi_of_an_out_is_called_so(ran: Seen) -> None:
    """Bit 33 of EXITINFO1 is 1 for an SMI that an OUT has raised."""
    assert exited(ran).info1 & VALID


@requirement("SVM-15.13.3-005")
@executes(PROGRAM)
def test_smi_tells_where_its_out_is(ran: Seen) -> None:
    """EXITINFO2 is the RIP of the OUT that has raised the SMI."""
    seen = exited(ran)
    assert hex(seen.info2) == hex(seen.before.rip + OUT_AT)


@requirement("SVM-15.13.3-008")
@executes(PROGRAM)
def test_smi_tells_what_its_out_is(ran: Seen) -> None:
    """EXITINFO1[63:32] has the port, the size, and that it was OUT, neither repeated nor of a string."""
    told = exited(ran).info1 >> 32 << 32 & ~(BREAKPOINTS | ADDRESS_SIZES)
    assert hex(told) == hex(0xB2 << 48 | SIZE_8 | VALID)
