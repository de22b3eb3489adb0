"""SMIs and their intercept (15.13.3)."""

from conformance.gif.interrupts import source
from conformance.gif.smi import HANDLER, SMI
from conformance.interrupt_intercepts.guests import LINGERS, interruptible
from conformance.vmrun.guests import VMMCALL, each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1

EXTERNAL, IN_OUT = 1 << 0, 1 << 33
"""EXITINFO1: the SMI came from outside; it was raised during an I/O instruction."""

NOT_WRITTEN = (1 << 64) - 1
SENT = source(f"clgi\nsend {SMI:#x}")
GUESTS = visits(
    {
        "intercepted": Visit(interruptible(LINGERS, flags=0, intercepts=Misc1.SMI), SENT),
        "not intercepted": Visit(interruptible(LINGERS, flags=0, intercepts=0), SENT),
        "not sent": Visit(interruptible(LINGERS, flags=0, intercepts=Misc1.SMI), "clgi"),
        "EXITINFO1 not 0": Visit(interruptible(LINGERS, flags=0, intercepts=Misc1.SMI, exitinfo1=NOT_WRITTEN), SENT),
    },
    memory=HANDLER,
)
"""Where it is not intercepted, SMM comes and goes unseen."""


@requirement("SVM-15.13.3-001")
@executes(GUESTS)
def test_smi_exits(ran: Seen) -> None:
    """An SMI exits with 62h, and without its intercept the guest goes on."""
    each_ends(ran, {"intercepted": exits.SMI, "not intercepted": VMMCALL, "not sent": VMMCALL})


@requirement("SVM-15.13.3-007")
@executes(GUESTS)
def test_external_smi_is_called_so(ran: Seen) -> None:
    """Bit 0 of EXITINFO1 is 1 for an SMI that the local APIC has delivered."""
    each_ends(ran, {"intercepted": exits.SMI})
    assert ran.vmrun("intercepted").info1 & EXTERNAL


@requirement("SVM-15.13.3-006")
@executes(GUESTS)
def test_smi_is_not_said_to_come_from_an_in_or_out(ran: Seen) -> None:
    """Bit 33 of EXITINFO1 is 0 for an SMI that no IN or OUT has raised, though it was 1 before VMRUN."""
    each_ends(ran, {"EXITINFO1 not 0": exits.SMI})
    assert not ran.vmrun("EXITINFO1 not 0").info1 & IN_OUT
