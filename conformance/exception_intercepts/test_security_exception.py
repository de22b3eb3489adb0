"""The class of #SX: what an exception during its delivery becomes (15.28)."""

from conformance.event_injection.guests import EXCEPTION, Tables, taken
from harness.cases import executes, requirement
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model import exits
from harness.model.registers import Event

NM, DF, GP, SX = 7, 8, 13, 30
SHORT = 30
"""Gates of an IDT that ends before that of #SX, and whose gate of #NM is none: either way #GP."""

CLASSES = {
    "contributory": Tables().guest(EXCEPTION | Event.EV | SX, vectors=SHORT, intercept_exceptions=1 << DF),
    "benign": Tables().guest(EXCEPTION | NM, vectors=SHORT, intercept_exceptions=1 << DF),
}


@requirement("SVM-15.28-004")
@executes({"": vmruns(CLASSES)})
def test_security_exception_is_contributory(ran: Seen) -> None:
    """#GP during the delivery of #SX is #DF, where after #NM, which is benign, its handler runs."""
    assert taken(ran, "benign") == GP
    code = ran.vmrun("contributory").exit
    assert code == exits.EXCEPTION + DF, f"exit {code if isinstance(code, str) else exits.name(code)}"
