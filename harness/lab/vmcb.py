"""Builds VMCBs for programs, by field name (:data:`harness.machine.vmcb.FIELDS`)."""

from __future__ import annotations

from harness.machine.registers import EFER_SVME
from harness.machine.vmcb import FIELDS, MISC2_VMRUN

MISC2_VMMCALL = 1 << 1
"""The VMMCALL intercept: bit 1 of ``intercept_misc2``."""

MISC1_VINTR, MISC1_MSR_PROT, MISC1_SHUTDOWN = 1 << 4, 1 << 28, 1 << 31
EFER_LME, EFER_LMA = 1 << 8, 1 << 10
CR0_PE, CR0_ET, CR0_PG = 1 << 0, 1 << 4, 1 << 31
CR4_PAE = 1 << 5
EVENT_VALID = 1 << 31
"""EVENTINJ.V (15.20)."""

_LONG_MODE_CODE, _DATA = 0x29B, 0x93  # with L; present, accessed, readable and writable
_REAL_MODE_CODE, _REAL_MODE_DATA = 0x9B, 0x93  # present, accessed, readable and writable


def encode(**fields: int) -> bytes:
    """A page with these fields set and all else zero; raises :class:`KeyError` for an unknown name."""
    page = bytearray(0x1000)
    for name, value in fields.items():
        field = FIELDS[name.replace("__", ".")]
        page[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
    return bytes(page)


def real_mode(code: int, **changes: int) -> bytes:
    """A guest in real mode without nested paging, whose CS starts at the physical address ``code`` with IP 0.

    It is intercepted at VMRUN, VMMCALL and shutdown (a guest that runs where it should be refused may triple-fault, and
    must not take the machine with it). ``changes`` override fields; a dot in a name is written ``__``.
    """
    fields = {
        "intercept_misc1": MISC1_SHUTDOWN,
        "intercept_misc2": MISC2_VMRUN | MISC2_VMMCALL,
        "guest_asid": 1,
        "efer": EFER_SVME,
        "cr0": CR0_ET,
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


def long_mode(code: int, cr3: int, **changes: int) -> bytes:
    """A guest in 64-bit mode at CPL 0 without nested paging, that starts at the linear address ``code``.

    Its page tables are at ``cr3``; intercepts and ``changes`` as in :func:`real_mode`.
    """
    fields = {
        "intercept_misc1": MISC1_SHUTDOWN,
        "intercept_misc2": MISC2_VMRUN | MISC2_VMMCALL,
        "guest_asid": 1,
        "efer": EFER_SVME | EFER_LME | EFER_LMA,
        "cr0": CR0_PG | CR0_ET | CR0_PE,
        "cr3": cr3,
        "cr4": CR4_PAE,
        "dr6": 0xFFFF_0FF0,
        "dr7": 0x400,
        "rflags": 0x2,
        "rip": code,
        "cs__selector": 0x8,
        "cs__limit": 0xFFFF_FFFF,
        "cs__attrib": _LONG_MODE_CODE,
    }
    for name in ("es", "ss", "ds"):
        fields |= {f"{name}__limit": 0xFFFF_FFFF, f"{name}__attrib": 0xC00 | _DATA}
    return encode(**(fields | changes))


def identity_tables(at: int) -> dict[int, bytes]:
    """Page tables at the physical address ``at`` that map the first 32 MiB to themselves in 2-MiB pages (user, RW)."""
    table, page = 0x7, 0x87  # present, writable, user; and a large page
    first = b"".join(((n << 21) | page).to_bytes(8, "little") for n in range(16))
    return {at: (at + 0x1000 | table).to_bytes(8, "little"), at + 0x1000: (at + 0x2000 | table).to_bytes(8, "little"),
            at + 0x2000: first}  # fmt: skip


def regions(at: int, page: bytes) -> dict[int, bytes]:
    """A page for :attr:`harness.lab.program.Program.regions`, without the stretches of it that are zero."""
    chunks = ((n, page[n : n + 0x80]) for n in range(0, len(page), 0x80))
    return {at + n: chunk for n, chunk in chunks if any(chunk)}
