"""Builds VMCBs for programs, by field name (:data:`harness.machine.vmcb.FIELDS`)."""

from __future__ import annotations

from harness.machine.registers import EFER_SVME
from harness.machine.vmcb import FIELDS, MISC2_VMRUN

MISC2_VMMCALL = 1 << 1
"""The VMMCALL intercept: bit 1 of ``intercept_misc2``."""

_REAL_MODE_CODE, _REAL_MODE_DATA = 0x9B, 0x93  # present, accessed, readable and writable
_CR0_ET = 1 << 4


def encode(**fields: int) -> bytes:
    """A page with these fields set and all else zero; raises :class:`KeyError` for an unknown name."""
    page = bytearray(0x1000)
    for name, value in fields.items():
        field = FIELDS[name.replace("__", ".")]
        page[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
    return bytes(page)


def real_mode(code: int, **changes: int) -> bytes:
    """A guest in real mode without nested paging, whose CS starts at the physical address ``code`` with IP 0.

    It is intercepted at VMRUN and VMMCALL. ``changes`` override fields; a dot in a name is written ``__``.
    """
    fields = {
        "intercept_misc2": MISC2_VMRUN | MISC2_VMMCALL,
        "guest_asid": 1,
        "efer": EFER_SVME,
        "cr0": _CR0_ET,
        "dr6": 0xFFFF_0FF0,
        "dr7": 0x400,
        "rflags": 0x2,
        "cs__selector": (code >> 4) & 0xFFFF,
        "cs__base": code,
        "cs__limit": 0xFFFF,
        "cs__attrib": _REAL_MODE_CODE,
    }
    for name in ("es", "ss", "ds"):
        fields |= {f"{name}__limit": 0xFFFF, f"{name}__attrib": _REAL_MODE_DATA}
    return encode(**(fields | changes))
