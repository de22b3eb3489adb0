"""Makes a finding's specimen as small as it can be while the same deviation shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.campaign.explore import Where, compared
from harness.campaign.finding import Finding
from harness.campaign.specimen import Specimen
from harness.lab.guest import Mode

Compare = Callable[[Sequence[Specimen]], Iterator[list[Finding]]]

_ROUNDS = 40


def shrink(finding: Finding, on: Sequence[Where]) -> Finding:
    """The smallest found, confirmed in a boot of its own on every engine."""
    involved = [where for where in on if where.engine in finding.seen]
    small = smallest(finding, lambda specimens: compared(specimens, involved))
    again = _same(small, next(compared([small.specimen], involved)))
    return (again or small).model_copy(update={"shrunk": True, "confirmed": again is not None})


def smallest(finding: Finding, compare: Compare) -> Finding:
    """Try every way to make it smaller at once, take the first that still shows it, until none does."""
    finding = finding.model_copy(update={"specimen": finding.specimen.plain()})
    for _ in range(_ROUNDS):
        candidates = list(dict.fromkeys(_smaller(finding.specimen)))
        better = (_same(finding, found) for found in compare(candidates)) if candidates else iter(())
        smaller = next(filter(None, better), None)
        if smaller is None:
            break
        finding = smaller
    return finding


def _same(finding: Finding, found: Sequence[Finding]) -> Finding | None:
    return next((one for one in found if one.cause == finding.cause), None)


def _smaller(specimen: Specimen) -> Iterator[Specimen]:
    """Specimens that are simpler in one respect, the boldest first."""
    twists = specimen.twists

    def having(**update: object) -> Specimen:
        return specimen.model_copy(update=update)

    for number in range(len(twists)):
        yield having(twists=(*twists[:number], *twists[number + 1 :]))
    if specimen.nested:
        yield having(nested=False)
    for number, twist in enumerate(twists):
        bits = list(twist.bits())
        for left_out in range(len(bits) if len(bits) > 1 else 0):
            kept = [bit for n, bit in enumerate(bits) if n != left_out]
            mask, value = sum(bit.mask for bit in kept), sum(bit.value for bit in kept)
            one = twist.model_copy(update={"mask": mask, "value": value})
            yield having(twists=(*twists[:number], one, *twists[number + 1 :]))
    if specimen.action != "VMMCALL":
        yield having(action="VMMCALL")
    for mode in (Mode.LONG, Mode.REAL):
        if specimen.mode not in (Mode.LONG, Mode.REAL):
            yield having(mode=mode)
