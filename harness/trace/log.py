"""Passages and tallies as text for a person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from harness.machine.image import Image
from harness.machine.vmcb import FIELDS, Vmcb
from harness.model import exits
from harness.trace.passage import Passage
from harness.trace.tally import NO_EXIT, Row, Spread, Tally, reason

_WORD = 8
_INDENT = " " * 8


def _by_word() -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = defaultdict(tuple)
    for name, field in FIELDS.items():
        found[field.offset // _WORD] += (name,)
    return found


_NAMES = _by_word()


def changes(old: Vmcb, new: Vmcb) -> dict[str, tuple[int, int]]:
    """Fields that differ, with both values; bytes that have no name show as the quadword ``at 6A0h``."""
    if old.data == new.data:
        return {}
    found: dict[str, tuple[int, int]] = {}
    for word in range(len(old.data) // _WORD):
        at = slice(word * _WORD, (word + 1) * _WORD)
        if old.data[at] == new.data[at]:
            continue
        named = {name: (old[name], new[name]) for name in _NAMES[word] if old[name] != new[name]}
        both = (int.from_bytes(data[at], "little") for data in (old.data, new.data))
        found |= named or {f"at {word * _WORD:03X}h": (next(both), next(both))}
    return found


def lines(passage: Passage, image: Image) -> Iterator[str]:
    """One passage: its VMRUN, what the hypervisor wrote before, its #VMEXIT, what the processor wrote."""
    cpu = f" on processor {passage.cpu}" if passage.cpu else ""
    vmcb = "" if passage.rax is None else f", VMCB at {passage.rax:#x}"
    yield f"#{passage.number:<6} VMRUN at {image.symbol_at(passage.vmrun)}{vmcb}{cpu}"
    if passage.before is not None:
        yield _INDENT + _wrote_before(passage.last, passage.before)
    if not passage.came_back:
        yield f"{_INDENT}no #VMEXIT: VMRUN failed (svmconf explain says why), or the guest did not end"
        return
    after = "" if passage.guest is None else f" after {passage.guest} instructions"
    yield f"{_INDENT}#VMEXIT {what(passage)}{after}"
    if passage.after is not None and passage.before is not None:
        wrote = changes(passage.before, passage.after)
        wrote = {name: values for name, values in wrote.items() if not name.startswith("exit")}
        yield f"{_INDENT}processor wrote  {_listed(wrote)}"
    if passage.host is not None:
        yield f"{_INDENT}next VMRUN       after {passage.host} instructions of the hypervisor, VMRUN included"


def _wrote_before(last: Vmcb | None, before: Vmcb) -> str:
    if last is None:
        return "VMCB at first    " + ", ".join(f"{name} {value:#x}" for name, value in before.decoded().items())
    return f"hypervisor wrote {_listed(changes(last, before))}"


def _listed(changed: dict[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {old:#x} -> {new:#x}" for name, (old, new) in changed.items()) or "nothing"


def what(passage: Passage) -> str:
    """Why the guest ended: the code's name, what EXITINFO says, and the registers that belong to it."""
    after = passage.after
    if after is None:
        return "for a reason that is not known: the VMCB could not be read"
    code = after["exitcode"]
    parts = [exits.name(code) if code == exits.IOIO else reason(passage)]
    if code == exits.MSR and "rcx" in passage.registers:
        parts.append(f"msr={passage.registers['rcx'] & 0xFFFF_FFFF:#x}")
    elif code in (exits.CPUID, exits.VMMCALL):
        parts.append(f"eax={after['rax'] & 0xFFFF_FFFF:#x}")
    elif code != exits.MSR and (said := exits.describe(code, after["exitinfo1"], after["exitinfo2"])):
        parts.append(f"({said})")
    parts.append(f"at {after['cs.selector']:#x}:{after['rip']:#x}")
    if (interrupted := exits.Interrupted.of(after["exitintinfo"])) is not None:
        parts.append(f"while {interrupted} was delivered")
    return " ".join(parts)


_HEADINGS = ("reason", "exits", "share", "per s", "guest min", "median", "p99", "host min", "median", "p99")


def table(tally: Tally) -> list[str]:
    """A line of headings, then one for each reason, the most frequent first; only what was counted."""
    rows = _rows(tally)
    rows.insert(0, _HEADINGS[: len(rows[0])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *[">"] * (len(widths) - 1)]
    aligned = ([f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)] for row in rows)
    return ["  ".join(line) for line in aligned]


def _rows(tally: Tally) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{row.exits:,}",
            f"{row.exits / tally.vmruns:.1%}",
            *(() if tally.instructions is None else (_rate(name, row, tally), *_spread(row.guest), *_spread(row.host))),
        )
        for name, row in sorted(tally.rows.items(), key=lambda item: -item[1].exits)
    ]


def _rate(name: str, row: Row, tally: Tally) -> str:
    return f"{row.exits / tally.seconds:,.0f}" if tally.seconds and name != NO_EXIT else ""


def _spread(spread: Spread | None) -> tuple[str, str, str]:
    if spread is None:
        return "", "", ""
    return _short(spread.least), _short(spread.median), _short(spread.p99)


def _short(count: int) -> str:
    """
    >>> _short(99_999), _short(1_466_512)
    ('99,999', '1.47M')
    """
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:.3g}M"
