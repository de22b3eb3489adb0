"""Task switches of a guest (15.14.1)."""

from conformance.guest_view.test_hiding import witness
from harness.boot import Boot
from harness.cases import Cpus, boots, requirement
from harness.observation import Observation

TASKS = Boot(guest="tasks")
FIRST, OTHER = 0x18, 0x20
EAX, EBX = 0x7E12, 0x1F1257
EXPECTED = {"VISITS": 2, "THERE": OTHER, "LOADED": EAX, "LINK": FIRST, "BACK": FIRST, "EBX": EBX, "AGAIN": FIRST}
"""How often the other task ran; its TR, its EAX, the task to go back to; TR and EBX of the first task after that."""


@requirement("SVM-15.14.1-008")
@boots(TASKS, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_task_switches_happen(seen: Observation) -> None:
    """A guest's CALL, IRET and JMP to another task lead there and back: none is stepped over."""
    found = dict(zip(EXPECTED, (it.value for it in witness(seen, *EXPECTED)), strict=True))
    assert found == EXPECTED
