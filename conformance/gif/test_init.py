"""INIT with GIF=0 (15.17), where R_INIT makes it an exception that can be seen."""

from conformance.gif.init import REDIRECTED, SX, init_source, redirected
from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm

STEPS = {
    "held": "clgi\nsend_init\ninc ebx\nstgi\nwait_a_little\ninc ebx",
    "at once": "stgi\nsend_init\ninc ebx",
}
"""EBX: 0 when it is taken at once, 1 when it is taken at STGI, 2 when it is not taken at all."""


@requirement("SVM-15.17-005")
@executes(
    {"": Program(steps=(*enable_svm(), *REDIRECTED, *(code(init_source(it), name=n) for n, it in STEPS.items())))}
)
def test_init_is_held(ran: Seen) -> None:
    """With GIF=0 an INIT is held pending until STGI, and with GIF=1 it is taken."""
    redirected(ran)
    seen = [(ran[name].vector, ran[name].registers["rbx"] & 0xFFFF_FFFF) for name in ("held", "at once")]
    assert seen == [(SX, 1), (SX, 0)]
