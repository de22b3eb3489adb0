"""Exceptions of the x87 and of SSE: their status is written before the intercept is looked at (15.12.16, 15.12.19)."""

from conformance.exception_intercepts.guests import MF, RAISED, XF
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.program import Program
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm

ZERO_DIVIDE = 1 << 2
"""In the x87's status word and in MXCSR."""

SUMMARY = 1 << 7
"""In the x87's status word: an exception that is not masked waits."""

SCRATCH = places.DATA + 0x5000
READ = {"#MF": "fnstsw ax", "#XF": f"stmxcsr [{SCRATCH:#x}]\nmov eax, [{SCRATCH:#x}]"}
"""How the host reads the status into EAX, right behind VMRUN."""


def then_status(name: str) -> dict[str, Program]:
    """The guest that raises it, and its status in EAX."""
    at = places.VMCBS
    step = code(f"vmrun\n{READ[name]}", rax=at, vmcb=at, name=name)
    return {"": program(*enable_svm(), step, guests={at: RAISED[name].guest(places.DATA + 0x1_0000)})}


@requirement("SVM-15.12.16-001")
@executes(then_status("#MF"))
def test_mf(ran: Seen) -> None:
    """#MF exits with 50h, and the x87's status word says why."""
    assert ran.vmrun("#MF").exit == MF
    assert ran["#MF"].registers["rax"] & (ZERO_DIVIDE | SUMMARY) == ZERO_DIVIDE | SUMMARY


@requirement("SVM-15.12.19-001")
@executes(then_status("#XF"))
def test_xf(ran: Seen) -> None:
    """#XF exits with 53h, and MXCSR says why."""
    assert ran.vmrun("#XF").exit == XF
    assert ran["#XF"].registers["rax"] & ZERO_DIVIDE
