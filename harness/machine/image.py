"""An image as a file: its format, where its bytes go in memory, its symbols and sections."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.errors import ImageError

_MULTIBOOT1 = b"\x02\xb0\xad\x1b"


@dataclass(frozen=True)
class Segment:
    """Bytes that a loader puts into memory: at these linear addresses (virtual and physical, often the same)."""

    addresses: tuple[int, ...]
    data: bytes
    executable: bool


class Image:
    """A bootable file; raises :class:`ImageError` when it cannot be read or is of no format we know."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise ImageError(f"cannot read image {path}: {error.strerror}") from error
        if self.data[:4] != b"\x7fELF" and self._multiboot_header() is None:
            raise ImageError(
                f"{path} is no bootable image: neither ELF nor a multiboot kernel",
                "the manifest's `image` must name what `qemu -kernel` would boot",
            )
        if self.data[:4] == b"\x7fELF":
            _ = self.segments, self._symbols  # a damaged file is found out here

    @classmethod
    def load(cls, path: Path) -> Image:
        """The image in a file; the same object as long as the file does not change."""
        try:
            state = path.stat()
        except OSError as error:
            raise ImageError(f"cannot read image {path}: {error.strerror}") from error
        return _load(path, state.st_mtime_ns, state.st_size)

    @cached_property
    def sha256(self) -> str:
        """The file's hash, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def _elf(self) -> ELFFile:
        try:
            elf = ELFFile(io.BytesIO(self.data))
            list(elf.iter_segments())
            list(elf.iter_sections())
        except (ELFError, ValueError, KeyError, OverflowError) as error:
            raise ImageError(f"{self.path} is a damaged ELF file: {error}") from error
        return elf

    @cached_property
    def segments(self) -> list[Segment]:
        """What a loader puts into memory."""
        if self.data[:4] != b"\x7fELF":
            header = self._multiboot_header() or 0
            fields = [int.from_bytes(self.data[header + n : header + n + 4], "little") for n in range(0, 24, 4)]
            load = fields[4] if fields[1] & 0x10000 else 0x100000
            skip = max(0, header - (fields[3] - load)) if fields[1] & 0x10000 else 0
            return [Segment((load,), self.data[skip:], True)]
        return [
            Segment(
                tuple(dict.fromkeys((s["p_paddr"], s["p_vaddr"]))),
                s.data(),
                bool(s["p_flags"] & 1),
            )
            for s in self._elf.iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        ]

    def find(self, pattern: bytes) -> list[int]:
        """Every linear address in executable memory where ``pattern`` stands, aligned to an instruction or not."""
        found: list[int] = []
        for segment in self.segments:
            at = segment.data.find(pattern) if segment.executable else -1
            while at >= 0:
                found += [base + at for base in segment.addresses]
                at = segment.data.find(pattern, at + 1)
        return sorted(set(found))

    def section(self, name: str) -> tuple[int, int, int]:
        """Address, size and file offset of a section; raise :class:`ImageError` when there is none."""
        section = self._elf.get_section_by_name(name)
        if section is None:
            raise ImageError(f"{self.path} has no section {name}")
        return section["sh_addr"], section["sh_size"], section["sh_offset"]

    @cached_property
    def extent(self) -> tuple[int, int]:
        """The physical addresses from the first byte loaded to the end of .bss."""
        if self.data[:4] != b"\x7fELF":
            segment = self.segments[0]
            return segment.addresses[0], segment.addresses[0] + len(segment.data)
        loads = [s for s in self._elf.iter_segments() if s["p_type"] == "PT_LOAD"]
        return min(s["p_paddr"] for s in loads), max(s["p_paddr"] + s["p_memsz"] for s in loads)

    @cached_property
    def constant(self) -> list[tuple[int, int]]:
        """The physical addresses, from and to, that it loads and is not to write: its code and read-only data."""
        if self.data[:4] != b"\x7fELF":
            return []
        return [
            (s["p_paddr"], s["p_paddr"] + s["p_filesz"])
            for s in self._elf.iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"] and not s["p_flags"] & 2
        ]

    @cached_property
    def multiboot1(self) -> tuple[tuple[tuple[int, bytes], ...], int] | None:
        """What a multiboot 1 loader puts where, and where it enters; ``None`` for an image that says neither.

        Address fields in the header (flag 16) win over ELF program headers (Multiboot 0.6.96, 3.1.3).
        """
        header = self._multiboot_header()
        if header is None:
            return None
        flags, at, load, load_end, _bss_end, entry = (
            int.from_bytes(self.data[header + n : header + n + 4], "little") for n in (4, 12, 16, 20, 24, 28)
        )
        if flags & 0x10000:
            start = max(0, header - (at - load))
            return ((load, self.data[start : start + load_end - load] if load_end else self.data[start:]),), entry
        if self.data[:5] == b"\x7fELF\x01":  # ELF32: the only ELF that the specification knows
            return tuple((s.addresses[0], s.data) for s in self.segments), self._elf["e_entry"]
        return None

    @cached_property
    def entries(self) -> list[int]:
        """Where a loader may enter it: the ELF entry point, and the one in a multiboot 1 header."""
        found = [self._elf["e_entry"]] if self.data[:4] == b"\x7fELF" else []
        header = self._multiboot_header()
        if header is not None and int.from_bytes(self.data[header + 4 : header + 8], "little") & 0x10000:
            found.append(int.from_bytes(self.data[header + 28 : header + 32], "little"))
        return sorted(set(found))

    def symbol(self, name: str) -> int:
        """The address of a symbol; raise :class:`ImageError` when there is none of that name."""
        for address, known in self._symbols:
            if known == name:
                return address
        raise ImageError(f"{self.path} has no symbol {name}")

    def symbol_at(self, address: int) -> str:
        """``name+0x12`` for an address in the image, the bare number when no symbol is known."""
        best: tuple[int, str] | None = None
        for start, name in self._symbols:
            if start <= address and (best is None or start > best[0]):
                best = start, name
        low, high = self.extent
        if best is None or not low <= address < high:
            return f"{address:#x}"
        return f"{_plain(best[1])}+{address - best[0]:#x}"

    @property
    def symbols(self) -> set[int]:
        """The addresses of all symbols."""
        return {address for address, _ in self._symbols}

    @cached_property
    def _symbols(self) -> list[tuple[int, str]]:
        if self.data[:4] != b"\x7fELF":
            return []
        table = self._elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return []
        return [(s["st_value"], s.name) for s in table.iter_symbols() if s.name and s["st_value"]]

    def _multiboot_header(self) -> int | None:
        at = self.data[:8192].find(_MULTIBOOT1)
        while at >= 0:
            magic, flags, checksum = (int.from_bytes(self.data[at + n : at + n + 4], "little") for n in (0, 4, 8))
            if at % 4 == 0 and (magic + flags + checksum) & 0xFFFFFFFF == 0:
                return at
            at = self.data[:8192].find(_MULTIBOOT1, at + 1)
        return None


def _plain(symbol: str) -> str:
    """A Rust symbol of the older mangling (``_ZN``, lengths and names, a hash, ``E``) as a path; others as they are."""
    rest, names = symbol.removeprefix("_ZN"), []
    while length := re.match(r"\d+", rest):
        end = length.end() + int(length[0])
        names.append(rest[length.end() : end])
        rest = rest[end:]
    return "::".join(names[:-1]) if rest == "E" and names else symbol


@lru_cache(maxsize=4)
def _load(path: Path, _changed: int, _size: int) -> Image:
    return Image(path)
