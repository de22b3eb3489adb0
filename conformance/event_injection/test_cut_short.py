"""Events whose delivery an exit cut short: under shadow paging, by the first touch of IDT or stack (15.7.2)."""

from conformance.guest_view.test_hiding import witness
from conformance.resumed import resumed
from conformance.vmrun.test_vmcb import vmcbs
from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.model.registers import Event
from harness.observation import Observation

CUT = Boot(guest="cut", words=("npt=off",), vmruns=200)

DB, UD, GP, NO_SELECTOR = 1, 6, 13, 0x1230
TYPE, EXCEPTION, SOFTWARE = 7 << 8, 3 << 8, 4 << 8
VECTOR = 0xFF


def cut_short(seen: Observation, kind: int | None = None) -> None:
    """The case is not run when no exit that was watched met the delivery of an event, or of one of that type."""
    events = [it.left.exitintinfo for it in resumed(seen)]
    if not any(event & Event.V and kind in (None, event & TYPE) for event in events):
        raise NotRun("no exit met the delivery of such an event")


@requirement("SVM-15.7.2-016")
@boots(CUT, guest_runs=True)
def test_cut_short_events_arrive_once(seen: Observation) -> None:
    """An interrupt, an NMI, #UD and #GP with its error code reach the guest once, though exits cut them short."""
    cut_short(seen)
    irq, nmi, where = (it.value for it in witness(seen, "IRQ", "NMI", "WHERE"))
    assert (irq, nmi, where) == (1, 1, 0), f"{irq} interrupts and {nmi} NMIs, {where} with another RIP"
    ud, gp = ((it.vector, it.error) for it in witness(seen, "UD", "GP"))
    assert (ud, gp) == ((UD, 0), (GP, NO_SELECTOR))


@requirement("SVM-15.20-018")
@boots(CUT, guest_runs=True)
def test_no_software_interrupt_is_injected(seen: Observation) -> None:
    """Without NRIPS no VMRUN injects TYPE 4, not even an INTn that was cut short."""
    cut_short(seen, SOFTWARE)
    for event, vmcb in vmcbs(seen):
        injected = vmcb.eventinj & Event.V and vmcb.eventinj & TYPE == SOFTWARE
        assert not injected, f"EVENTINJ is {vmcb.eventinj:#x} at {event.where}"


@requirement("SVM-15.20-019")
@boots(CUT, guest_runs=True)
def test_cut_short_software_interrupts_arrive_once(seen: Observation) -> None:
    """Without NRIPS an INTn that was cut short runs its handler once, which returns to behind it."""
    cut_short(seen, SOFTWARE)
    count, elsewhere = (it.value for it in witness(seen, "INT", "WHEREINT"))
    assert (count, elsewhere) == (1, 0)


@requirement("SVM-15.20-020")
@boots(CUT, guest_runs=True)
def test_icebp_is_executed_again(seen: Observation) -> None:
    """The #DB of an ICEBP that was cut short is not injected: ICEBP is executed again, and its handler runs once."""
    icebp = Event.V | EXCEPTION | DB
    cut = [it for it in resumed(seen) if it.left.exitintinfo & (Event.V | TYPE | VECTOR) == icebp]
    if not cut:
        raise NotRun("no exit met the delivery of #DB, which only ICEBP raises here")
    for it in cut:
        assert not it.then.eventinj & Event.V, f"EVENTINJ is {it.then.eventinj:#x} at {it.event.where}"
    (tried,) = witness(seen, "ICEBP")
    assert (tried.vector, tried.value) == (None, 1)
