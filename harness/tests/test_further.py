"""When VMRUN is watched again: a processor was given a host save area, after VMRUN had been given up."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.machine.base import Debugger, Point
from harness.machine.further import FurtherProcessors

VMRUN, OTHER = 0x1000, 0x2000


class Points:
    """Counts the points that are set, and takes none back that is not."""

    def __init__(self) -> None:
        self.there: set[int] = set()

    def insert(self, kind: Point, address: int, size: int = 1) -> None:
        assert kind is Point.HARDWARE and size == 1 and address not in self.there
        self.there.add(address)

    def remove(self, kind: Point, address: int, size: int = 1) -> None:
        assert kind is Point.HARDWARE and size == 1
        self.there.remove(address)


@pytest.fixture
def points() -> Points:
    return Points()


@pytest.fixture
def further(points: Points) -> FurtherProcessors:
    return FurtherProcessors(cast("Debugger", cast("Any", points)), Point.HARDWARE)


def test_nothing_is_looked_for_while_vmrun_is_watched(points: Points, further: FurtherProcessors) -> None:
    further.given(0x5000)
    assert not further.sought and not points.there


def test_looks_until_a_vmcb_is_new(points: Points, further: FurtherProcessors) -> None:
    further.give_up(VMRUN)
    further.give_up(OTHER)
    further.given(0x5000)
    assert further.sought == points.there == {VMRUN, OTHER}
    further.passed(known=True)
    assert further.sought
    further.passed(known=False)
    assert not further.sought and not points.there


def test_loses_its_patience(points: Points, further: FurtherProcessors) -> None:
    further.give_up(VMRUN)
    further.given(0x5000)
    for _ in range(64):
        assert further.sought
        further.passed(known=True)
    assert not further.sought and not points.there


def test_a_page_that_is_given_again_is_no_processor(points: Points, further: FurtherProcessors) -> None:
    further.give_up(VMRUN)
    further.given(0x5000)
    further.passed(known=False)
    further.given(0x5000)
    assert not further.sought
    further.given(0x6000)
    further.given(0x7000)  # while the one before is still looked for
    assert points.there == {VMRUN}
