"""SMIs with GIF=0 (15.17): a guest that intercepts them tells which were held until VMRUN set GIF."""

from conformance.gif.interrupts import source
from conformance.gif.smi import HANDLER, SMI
from conformance.interrupt_intercepts.guests import LINGERS, interruptible
from conformance.vmrun.guests import VMMCALL, each_ends
from conformance.vmrun.visits import Visit, visits
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Misc1

GUEST = interruptible(LINGERS, flags=0, intercepts=Misc1.SMI)
SENT = {"with GIF=0": f"clgi\nsend {SMI:#x}", "with GIF=1": f"stgi\nsend {SMI:#x}\nclgi", "not": "clgi"}


@requirement("SVM-15.17-004")
@executes(visits({name: Visit(GUEST, source(how)) for name, how in SENT.items()}, memory=HANDLER))
def test_smi_is_held(ran: Seen) -> None:
    """An SMI that is sent with GIF=0 is still there once VMRUN sets GIF; one sent with GIF=1 was taken before."""
    each_ends(ran, {"with GIF=0": exits.SMI, "with GIF=1": VMMCALL, "not": VMMCALL})
