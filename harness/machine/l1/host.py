"""Keeps an L1 running from job to job, and replaces one that broke."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TypeVar

from harness.deadline import Deadline
from harness.errors import DeadlineExceeded, EngineError
from harness.lab.payload import Left
from harness.machine.ending import Ending, How
from harness.machine.l1.machine import L1Machine
from harness.machine.l1.running import Running
from harness.machine.l1.snapshot import System, restored
from harness.machine.l1.wire import Job
from harness.observation import Alone, Observation

T = TypeVar("T", Observation, Left, Alone)

_GRACE = 20.0
"""Seconds beyond a job's own limit, which L1 keeps: a machine that is watched stands still in between."""


class Host:
    """One L1 for one job after another. It dies with this process."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._l1: Running | None = None
        atexit.register(self.close)  # in order, where nobody closes the engine; a killed process needs no order

    def run(self, job: Job, use: Callable[[L1Machine], T]) -> tuple[T, L1Machine]:
        """What ``use`` makes of the job's machine, and that machine, which is closed then.

        When L1 itself breaks, the job is tried once more in a new one. Raises
        :class:`harness.errors.EngineError` when that cannot be had, or does not start the machine.
        """
        try:
            seen, machine = self._try(job, use)
            if machine.clean:
                return seen, machine
        except (EngineError, DeadlineExceeded):
            self.close()
        seen, machine = self._try(job, use)
        if not machine.clean and not seen.ended.engine_at_fault:
            # What looks like a hang of the software is L1's: of its own machine it would have told the end.
            broke = Ending(how=How.ENGINE_CRASHED, detail=f"L1 does not answer: {seen.ended}")
            seen = seen.model_copy(update={"ended": broke})
        return seen, machine

    def _try(self, job: Job, use: Callable[[L1Machine], T]) -> tuple[T, L1Machine]:
        l1 = self._l1 = self._l1 or restored(self._system)
        deadline = Deadline.after(job.seconds + _GRACE)
        machine: L1Machine | None = None
        try:
            with L1Machine(l1, job, deadline) as machine:
                seen = use(machine)
        finally:
            if machine is None or not machine.clean:
                self.close()
        return seen, machine

    def close(self) -> None:
        """End the L1, if one runs."""
        if self._l1 is not None:
            self._l1.close()
            self._l1 = None
