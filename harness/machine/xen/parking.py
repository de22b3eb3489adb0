"""The code in which a new domain waits until an image takes its place.

Going round in a loop it writes a row of values to EFER, each followed by an exit with another value in EAX, so that
the place where Xen keeps the domain's EFER can be found (:mod:`harness.machine.xen.found`). Then it executes CPUID,
which takes the processor into Xen: a state is saved there, since QEMU cannot save one of a TCG that runs a guest.
"""

from __future__ import annotations

import struct

from harness.msr import Msr

BASE = 0x9_F000
"""Physical address of its page: below what a loader reserves, where no image of ours is."""

EFERS = (0x801, 0x001, 0x800, 0x000)
"""What it writes to EFER, one after another: SCE and NXE, which are good in any mode.

Not LME: #VMEXIT from a guest with LME but without PAE leaves TCG in a state that no processor has (do_vmexit() loads
CR0 before CR4, and cpu_x86_update_cr0() does nothing then)."""

_MARK = 0x5EED
_CPUID, _WRMSR, _NOP = b"\x0f\xa2", b"\x0f\x30", b"\x90"
_EHDR, _PHDR = struct.Struct("<16sHHIIIIIHHHHHH"), struct.Struct("<8I")
_PT_LOAD, _PT_NOTE, _READ_EXECUTE, _READ = 1, 4, 5, 4
_NOTE = struct.Struct("<III4sI")
_PHYS32_ENTRY = 18
_CODE = _EHDR.size + 2 * _PHDR.size + _NOTE.size


def _mov_eax(value: int) -> bytes:
    return b"\xb8" + struct.pack("<I", value)


def _mov_ecx(value: int) -> bytes:
    return b"\xb9" + struct.pack("<I", value)


def _assemble() -> tuple[bytes, tuple[int, ...], int]:
    xor_edx = b"\x31\xd2"
    code = b""
    written = []
    for value in EFERS:
        code += _mov_eax(value) + xor_edx + _mov_ecx(Msr.EFER) + _WRMSR
        code += _mov_eax(_MARK) + _mov_ecx(0) + _CPUID
        written.append(BASE + _CODE + len(code))
        code += _NOP
    leave = BASE + _CODE + len(code)
    code += _CPUID
    code += b"\xeb" + struct.pack("<b", -(len(code) + 2))  # jmp to the start
    return code, tuple(written), leave


_code, WRITTEN, LEAVE = _assemble()
"""Addresses: where each of :data:`EFERS` has been written, and the CPUID at which the state is saved."""

BACK = LEAVE + len(_CPUID)
"""Where the domain goes on after it."""


def elf() -> bytes:
    """A 32-bit ELF file with a PVH note, as Xen's domain builder wants it."""
    size = _CODE + len(_code)
    entry, note_at = BASE + _CODE, _CODE - _NOTE.size
    ident = b"\x7fELF" + bytes((1, 1, 1)) + bytes(9)
    return b"".join(
        (
            _EHDR.pack(ident, 2, 3, 1, entry, _EHDR.size, 0, 0, _EHDR.size, _PHDR.size, 2, 0, 0, 0),
            _PHDR.pack(_PT_LOAD, 0, BASE, BASE, size, size, _READ_EXECUTE, 0x1000),
            _PHDR.pack(_PT_NOTE, note_at, BASE + note_at, BASE + note_at, _NOTE.size, _NOTE.size, _READ, 4),
            _NOTE.pack(4, 4, _PHYS32_ENTRY, b"Xen\0", entry),
            _code,
        )
    )
