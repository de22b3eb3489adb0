"""Exceptions that a hypervisor intercepts and gives back to its guest (15.7.2, 15.12)."""

from conformance.event_injection.test_cut_short import CUT
from conformance.guest_view.test_hiding import witness
from conformance.resumed import resumed
from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.model import exits
from harness.model.registers import Event
from harness.observation import Observation

DF, PF = 8, 14
EXCEPTION = Event.V | Event.EV | 3 << 8
UNMAPPED = 0x40_0000
DOUBLE = Boot(guest="double", vmruns=100)


@requirement("SVM-15.7.2-011")
@boots(DOUBLE, guest_runs=True)
def test_two_faults_make_a_double_fault(seen: Observation) -> None:
    """#GP while #DE is delivered arrives as #DF with error code 0."""
    (fault,) = witness(seen, "DE")
    assert (fault.vector, fault.error) == (DF, 0)


@requirement("SVM-15.12.9-003")
@boots(DOUBLE, guest_runs=True)
def test_a_double_fault_is_not_resumed_where_it_came(seen: Observation) -> None:
    """After an intercepted #DF the guest goes on in its handler, not at the RIP that was saved."""
    met = [it for it in resumed(seen) if it.left.exitcode == exits.EXCEPTION + DF]
    if not met:
        raise NotRun("no guest went on after an intercepted #DF")
    for it in met:
        assert it.then.eventinj == EXCEPTION | DF, f"goes on at {it.then.rip:#x}, EVENTINJ {it.then.eventinj:#x}"
    (fault,) = witness(seen, "NP")
    assert (fault.vector, fault.error) == (DF, 0)


@requirement("SVM-15.12.15-003")
@boots(CUT, guest_runs=True)
def test_cr2_is_that_of_the_page_fault(seen: Observation) -> None:
    """The handler of a #PF that was intercepted and reflected finds its address in CR2."""
    if not any(vmcb.intercept_exceptions >> PF & 1 for _, vmcb in seen.vmruns()):
        raise NotRun(f"exit {exits.EXCEPTION + PF:#x} is not intercepted: nothing is reflected")
    fault, cr2 = witness(seen, "PF", "CR2")
    assert (fault.vector, cr2.value) == (PF, UNMAPPED), f"CR2 is {cr2.value:#x}"
