"""The intercept of PAUSE, and its filter (15.14.4)."""

from conformance.intercepts.tried import GOES_ON, Tries, tried
from harness.cases import executes, requirement
from harness.lab.seen import Seen

PAUSE = 0x77
LONG_AGO, SOON = 1, 0xFFFF
"""Thresholds, in cycles: no loop is so fast as the one, none so slow as the other."""

SEVERAL = "\n".join(["pause"] * 20)
FILTERED = Tries(
    {
        "count 0": tried(SEVERAL, PAUSE),
        "count 5": tried(SEVERAL, PAUSE, pause_filter_count=5),
        "count 100": tried(SEVERAL, PAUSE, pause_filter_count=100),
        "count 5, close": tried(SEVERAL, PAUSE, pause_filter_count=5, pause_filter_threshold=SOON),
        "count 5, apart": tried(
            "mov ecx, 20\nagain:\npause\nmov eax, 100\nwaits:\ndec eax\njnz waits\nloop again",
            PAUSE,
            pause_filter_count=5,
            pause_filter_threshold=LONG_AGO,
        ),
    }
)


def pauses(ran: Seen, name: str) -> int:
    """How many PAUSEs have been executed before the one that exited."""
    FILTERED.come_to(ran, {name: PAUSE})
    return (ran.vmrun(name).after.rip - ran.vmrun(name).before.rip) // 2


@requirement("SVM-15.14.4-001")
@executes(FILTERED.programs)
def test_count_0(ran: Seen) -> None:
    """With PauseFilterCount=0 the first PAUSE exits with 77h."""
    assert pauses(ran, "count 0") == 0


@requirement("SVM-15.14.4-008")
@executes(FILTERED.programs)
def test_without_filter_the_count_is_nothing(ran: Seen) -> None:
    """On a processor without PauseFilter the first PAUSE exits whatever the count is."""
    assert [pauses(ran, name) for name in ("count 0", "count 5", "count 100")] == [0, 0, 0]


@requirement("SVM-15.14.4-002")
@executes(FILTERED.programs)
def test_exits_when_the_count_is_exhausted(ran: Seen) -> None:
    """With PauseFilter a PAUSE exits when as many as the count says have been executed; fewer do not."""
    assert pauses(ran, "count 5") == 5
    FILTERED.come_to(ran, {"count 100": GOES_ON})


@requirement("SVM-15.14.4-003")
@executes(FILTERED.programs)
def test_count_is_not_written_back(ran: Seen) -> None:
    """PauseFilterCount in the VMCB is as it was."""
    FILTERED.come_to(ran, {"count 5": PAUSE})
    assert ran.vmrun("count 5").after.pause_filter_count == 5


@requirement("SVM-15.14.4-006")
@executes(FILTERED.programs)
def test_close_pauses_are_counted(ran: Seen) -> None:
    """PAUSEs closer to each other than the threshold exhaust the count; the first may be far from one before."""
    assert pauses(ran, "count 5, close") in (5, 6)


@requirement("SVM-15.14.4-005")
@executes(FILTERED.programs)
def test_pauses_far_apart_are_not(ran: Seen) -> None:
    """PAUSEs that are further apart than the threshold start the count anew: none exits."""
    FILTERED.come_to(ran, {"count 5, apart": GOES_ON})


@requirement("SVM-15.14.4-007")
@executes(FILTERED.programs)
def test_threshold_0_leaves_the_count_alone(ran: Seen) -> None:
    """With a threshold of 0 the count alone decides."""
    assert pauses(ran, "count 5") == 5
