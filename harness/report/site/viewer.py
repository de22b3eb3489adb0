"""Data for the VMCB viewer: the table of fields, and each boot's dumps as a script of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from harness.machine.vmcb import FIELDS
from harness.report.site.exhibits import Boot, Dump
from harness.report.site.words import BITS, EXIT_CODES

_STATE_SAVE_AREA = 0x400
_STRETCH = re.compile(rb"[^\0](?:[^\0]|\0(?!\0{7}))*")  # fewer than eight zeros are cheaper said than left out


def tables() -> dict[str, Any]:
    """Fields in the VMCB's order (name, offset, size), names of their bits, and of exit codes."""
    fields = sorted((field.offset, name, field.size) for name, field in FIELDS.items())
    return {
        "fields": [[name, offset, size] for offset, name, size in fields],
        "save": _STATE_SAVE_AREA,
        "bits": {name: bits for name, bits in BITS.items() if name in FIELDS},
        "exits": {f"{code:x}": name for code, name in EXIT_CODES.items()},
    }


def script(boot: Boot) -> str:
    """A script that hands a boot's dumps to the page."""
    dumps = [_dump(dump) for dump in boot.dumps]
    return f"svmconf.dumps({json.dumps(boot.page)}, {json.dumps(dumps, separators=(',', ':'))});\n"


def _dump(dump: Dump) -> dict[str, Any]:
    after = None if dump.after is None else list(_pieces(dump.after))
    return {"label": dump.label, "before": list(_pieces(dump.before)), "after": after}


def _pieces(page: bytes) -> Iterator[tuple[int, str]]:
    """The stretches that are not zero: where, and their bytes in hexadecimal."""
    for match in _STRETCH.finditer(page):
        yield match.start(), match[0].hex()
