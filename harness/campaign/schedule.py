"""Hands out a campaign's work until the time is over, and keeps every result as it comes.

A chunk gives the same wherever it runs, so what a lost worker had under way is simply done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from harness.campaign.cluster import Cluster
from harness.campaign.explore import Explored, explore
from harness.campaign.finding import Finding
from harness.campaign.folder import Folder, new_causes
from harness.campaign.known import is_known
from harness.campaign.shrink import shrink
from harness.machine.image import Image

_AHEAD = 2
"""Chunks handed out for each worker, so that none waits."""

_TO_END = 120.0
"""Seconds beyond the campaign's for what is under way, above all making small what was found last."""

_TICK = 0.5


def campaign(
    work: Cluster,
    folder: Folder,
    probe: Image,
    seconds: float,
    tell: Callable[[int, int], None] = lambda done, found: None,
) -> None:
    """Explore chunk after chunk for so many seconds, make new findings small, keep everything.

    ``tell`` is told how many specimens were done and how many distinct findings there are. Interrupted at any point,
    the folder holds all that was found, and the same call goes on from there.
    """
    plan = folder.plan
    done, kept = folder.done(), folder.findings()
    end = time.monotonic() + seconds
    specimens = sum(one.specimens for one in done.values())
    numbers = (number for number in count() if number not in done)

    def take_in(finding: Finding) -> None:
        known = finding.model_copy(update={"known": is_known(finding, plan)})
        kept[known.cause] = known
        folder.keep(known, probe)
        if not known.shrunk:
            work.submit(shrink, known, plan.on, priority=1)

    for finding in [one for one in kept.values() if not one.shrunk]:
        take_in(finding)
    for explored in done.values():
        for finding in new_causes(explored, kept):
            take_in(finding)
    while True:
        over = time.monotonic() > end
        while not over and work.pending(explore) < _AHEAD * work.workers:
            work.submit(explore, plan.seed, next(numbers), plan.size, plan.on)
        for result in work.take(_TICK):
            if isinstance(result, Explored):
                folder.keep_chunk(result)
                specimens += result.specimens
                for finding in new_causes(result, kept):
                    take_in(finding)
            elif isinstance(result, Finding):
                take_in(result)
        tell(specimens, len(kept))
        if over and (not work.busy or time.monotonic() > end + _TO_END):
            break
