"""Reads what Bochs' debugger says: text in, numbers out. Bochs 2.6 to 3.1 say it alike, but for a colon here and there.

>>> general("rax: 00000000_0000002a\\nr8 : 00000001_00000000\\neflags: 0x00000002: id vip")
{'rax': 42, 'r8': 4294967296, 'eflags': 2}
>>> control("CR0=0x60000010: pg CD\\nCR2=page fault laddr=0x0000000000000000\\nEFER=0x00000500: ffxsr")
{'cr0': 1610612752, 'cr2': 0, 'efer': 1280}
"""

from __future__ import annotations

import re

from harness.errors import ProtocolError

_GENERAL = re.compile(r"^(r\w+) ?: ([0-9a-f]{8})_([0-9a-f]{8})", re.M)
_FLAGS = re.compile(r"^eflags:? 0x([0-9a-f]+)", re.M)
_CONTROL = re.compile(r"^(CR[0234]|EFER)=(?:page fault laddr=)?0x([0-9a-f]+)", re.M)
_SELECTOR = re.compile(r"^([c-gs]s):0x([0-9a-f]+)", re.M)
_LOADED = re.compile(r"^([c-es]s):0x[0-9a-f]+, dh=0x([0-9a-f]+), dl=0x([0-9a-f]+)", re.M)
_DEBUG = re.compile(r"^(DR[67])=0x([0-9a-f]+)", re.M)
_TABLE = re.compile(r"^([gi]dt)r:base=0x([0-9a-f]+), limit=0x([0-9a-f]+)", re.M)
_SYSTEM = re.compile(r"^(ldt|t)r:0x[0-9a-f]+, dh=0x([0-9a-f]+), dl=0x([0-9a-f]+), valid=1", re.M)
_WORD = re.compile(r"\t0x([0-9a-f]{8})")
_PARAMETER = re.compile(r"^\w+ = (?:0x)?([0-9a-f]+)$", re.M)
_NEXT = re.compile(r"^\(0\) \[0x[0-9a-f]+\] ([0-9a-f]+):([0-9a-f]+) ", re.M)
_VMRUN = re.compile(r"\): vmrun\b")
_WATCHED = re.compile(r"Caught (?:read|write) watch point at 0x([0-9a-f]+)", re.I)


def general(reply: str) -> dict[str, int]:
    """The answer to ``r``: rax ... r15, rip, eflags."""
    found = {name: int(high + low, 16) for name, high, low in _GENERAL.findall(reply)}
    if flags := _FLAGS.search(reply):
        found["eflags"] = int(flags[1], 16)
    return found


def control(reply: str) -> dict[str, int]:
    """The answer to ``creg``: cr0, cr2, cr3, cr4, efer."""
    return {name.lower(): int(value, 16) for name, value in _CONTROL.findall(reply)}


def selectors(reply: str) -> dict[str, int]:
    """The segment selectors in the answer to ``sreg``."""
    return {name: int(value, 16) for name, value in _SELECTOR.findall(reply)}


def loaded(reply: str) -> dict[str, tuple[int, int, int]]:
    """What the processor holds of CS, SS, DS and ES, in the answer to ``sreg``: as :class:`Registers` has it."""
    found = {}
    for name, high, low in _LOADED.findall(reply):
        upper, lower = int(high, 16), int(low, 16)
        limit = upper & 0xF_0000 | lower & 0xFFFF
        found[name] = (
            upper & 0xFF00_0000 | (upper & 0xFF) << 16 | lower >> 16,
            limit << 12 | 0xFFF if upper & 1 << 23 else limit,
            upper >> 8 & 0xF0FF,
        )
    return found


def debug(reply: str) -> dict[str, int]:
    """DR6 and DR7 in the answer to ``dreg``."""
    return {name.lower(): int(value, 16) for name, value in _DEBUG.findall(reply)}


def tables(reply: str) -> dict[str, tuple[int, int]]:
    """Base and limit of GDT, IDT, LDT and TR in the answer to ``sreg``; of the latter two, base bits 31:0."""
    found = {name: (int(base, 16), int(limit, 16)) for name, base, limit in _TABLE.findall(reply)}
    for name, high, low in _SYSTEM.findall(reply):
        upper, lower = int(high, 16), int(low, 16)
        base = upper & 0xFF00_0000 | (upper & 0xFF) << 16 | lower >> 16
        limit = upper & 0xF_0000 | lower & 0xFFFF
        found["tr" if name == "t" else name] = (base, limit << 12 | 0xFFF if upper & 1 << 23 else limit)
    return found


def memory(reply: str, size: int) -> bytes:
    """The answer to ``xp /Nwx``; raise :class:`ProtocolError` when it has not ``size`` bytes."""
    data = b"".join(int(word, 16).to_bytes(4, "little") for word in _WORD.findall(reply))
    if len(data) != size:
        raise ProtocolError(f"Bochs gives {len(data)} bytes of memory, not {size}: {reply[:80]!r}")
    return data


def parameter(reply: str) -> int:
    """The answer to ``show "NAME"``; raise :class:`ProtocolError` when there is no such parameter."""
    match = _PARAMETER.search(reply)
    if match is None:
        raise ProtocolError(f"Bochs has no such parameter: {reply[-80:]!r}")
    return int(match[1], 16)


def next_instruction(line: str) -> tuple[int, int] | None:
    """CS and RIP in the line that shows the next instruction; ``None`` where its memory could not be read."""
    match = _NEXT.search(line)
    return (int(match[1], 16), int(match[2], 16)) if match else None


def is_vmrun(line: str) -> bool:
    """Whether the line that shows the next instruction shows VMRUN."""
    return _VMRUN.search(line) is not None


def watched(reasons: str) -> int | None:
    """The address that a watchpoint caught, among the reasons of a stop."""
    match = _WATCHED.search(reasons)
    return int(match[1], 16) if match else None
