"""What a loader leaves, made by us: against the bytes that the specification asks for."""

import struct
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.machine.handoff import INFO, MAGIC, multiboot1
from harness.machine.image import Image


def flat(tmp_path: Path, flags: int = 0x10003) -> Image:
    header = struct.pack(
        "<8I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, 0x100010, 0x100000, 0, 0, 0x100040
    )
    path = tmp_path / "flat.bin"
    path.write_bytes(bytes(16) + header + b"code")
    return Image(path)


def test_loads_by_the_address_fields(tmp_path: Path) -> None:
    handoff = multiboot1(flat(tmp_path), "", 16)
    assert handoff.eip == 0x100040
    assert handoff.eax == MAGIC
    address, data = handoff.regions[0]
    assert address == 0x100000
    assert data.endswith(b"code")


def test_information_has_memory_and_command_line(tmp_path: Path) -> None:
    handoff = multiboot1(flat(tmp_path), "guest=hello", 16)
    at, info = handoff.regions[-1]
    assert at == handoff.ebx == INFO
    flags, lower, upper = struct.unpack_from("<III", info)
    assert flags == 0b1000101
    assert (lower, upper) == (639, 15 * 1024)
    (words,) = struct.unpack_from("<I", info, 16)
    assert info[words - INFO :].startswith(b"guest=hello\0")
    length, start = struct.unpack_from("<II", info, 44)
    areas = [struct.unpack_from("<IQQI", info, start - INFO + n) for n in range(0, length, 24)]
    assert areas[-1] == (20, 0x100000, 15 << 20, 1)


def test_an_image_that_does_not_say_where_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no multiboot 1 header that says where"):
        multiboot1(flat(tmp_path, flags=3), "", 16)


def test_an_image_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not fit"):
        multiboot1(flat(tmp_path), "", 1)
