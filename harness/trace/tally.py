"""Passages counted: exits by reason, how often, and the instructions that they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.model import exits
from harness.trace.passage import Passage

UNKNOWN = "unknown"
"""The reason where the VMCB could not be read."""
NO_EXIT = "no #VMEXIT"
"""Instead of a reason: VMRUN failed, or its guest ran to the end."""


def reason(passage: Passage) -> str:
    """What ended a guest, in a word: the exit code's name; of MSR and IOIO, which instruction."""
    if not passage.came_back:
        return NO_EXIT
    if passage.after is None:
        return UNKNOWN
    if passage.after.refused:
        return exits.name(exits.INVALID)
    code, write = passage.after["exitcode"], passage.after["exitinfo1"] & 1
    if code == exits.MSR:
        return "WRMSR" if write else "RDMSR"
    if code == exits.IOIO:
        return "IN" if write else "OUT"
    return exits.name(code)


def detail(passage: Passage) -> str:
    """The reason and what it was about: the leaf, the MSR, the port, the page, the exit's other information."""
    name, after = reason(passage), passage.after
    if after is None or name in (NO_EXIT, UNKNOWN):
        return name
    code = after["exitcode"]
    if code == exits.MSR and "rcx" in passage.registers:
        return f"{name} {passage.registers['rcx'] & 0xFFFF_FFFF:#x}"
    if code in (exits.CPUID, exits.VMMCALL):
        return f"{name} eax={after['rax'] & 0xFFFF_FFFF:#x}"
    if code == exits.IOIO:
        return f"{name} {exits.Io.of(after['exitinfo1'], 0).port:#x}"
    if code == exits.NPF:
        return f"{name} page {after['exitinfo2'] & ~0xFFF:#x}"
    return name


@dataclass(frozen=True)
class Spread:
    """The least, the median and the 99th percentile of some counts."""

    least: int
    median: int
    p99: int

    @classmethod
    def of(cls, counts: Counter[int]) -> Spread | None:
        """``None`` for no counts at all.

        >>> Spread.of(Counter([3, 1, 2, 2]))
        Spread(least=1, median=2, p99=3)
        """
        if not counts:
            return None
        values = sorted(counts.items())
        return cls(values[0][0], _quantile(values, 0.5), _quantile(values, 0.99))


def _quantile(values: list[tuple[int, int]], part: float) -> int:
    """The least value such that at least that part of all is not above it."""
    wanted = part * sum(often for _, often in values)
    seen = 0
    for value, often in values:
        seen += often
        if seen >= wanted:
            return value
    return values[-1][0]


@dataclass
class Row:
    """Exits of one reason: how many, and instructions: of the guest before, of the host until the next VMRUN."""

    exits: int = 0
    _guest: Counter[int] = field(default_factory=Counter)
    _host: Counter[int] = field(default_factory=Counter)

    def add(self, passage: Passage) -> None:
        """Count one."""
        self.exits += 1
        if passage.guest is not None:
            self._guest[passage.guest] += 1
        if passage.host is not None:
            self._host[passage.host] += 1

    @property
    def guest(self) -> Spread | None:
        """The guest's instructions before these exits; ``None`` where they are not counted."""
        return Spread.of(self._guest)

    @property
    def host(self) -> Spread | None:
        """The host's from the exit to the next VMRUN, that included; ``None`` where none followed or was counted."""
        return Spread.of(self._host)


@dataclass
class Tally:
    """Passages by reason.

    :param rows: by reason, in order of their first appearance.
    :param seconds: between the first VMRUN and the last, or its #VMEXIT; 0 where time is not known.
    :param instructions: that all processors began, before the first VMRUN too; ``None`` where they are not counted.
    :param attempts: VMRUNs that a guest tried, which are none of the hypervisor's.
    :param kind: what passages are counted by: :func:`reason` or :func:`detail`.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    seconds: float = 0.0
    instructions: int | None = None
    attempts: int = 0
    kind: Callable[[Passage], str] = reason

    def add(self, passage: Passage) -> None:
        """Count one."""
        self.rows.setdefault(self.kind(passage), Row()).add(passage)

    @property
    def vmruns(self) -> int:
        """How many VMRUNs there were."""
        return sum(row.exits for row in self.rows.values())
