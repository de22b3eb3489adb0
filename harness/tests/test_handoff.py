"""What a loader leaves, made by us: against the bytes that the specification asks for."""

import struct
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.guests.files import Module
from harness.machine.bzimage import bare
from harness.machine.handoff import INFO, MAGIC, MODULES_AT, multiboot1
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


def test_modules_lie_in_pages_of_their_own_with_their_strings(tmp_path: Path) -> None:
    modules = (Module(b"kernel" * 1000, "vmlinuz console=ttyS0"), Module(b"archive", "initramfs"))
    handoff = multiboot1(flat(tmp_path), "guest=linux", 32, modules)
    _, info = handoff.regions[-1]
    flags, count, at = *struct.unpack_from("<I", info), *struct.unpack_from("<II", info, 20)
    assert flags == 0b1001101 and count == 2
    entries = [struct.unpack_from("<IIII", info, at - INFO + 16 * n) for n in range(count)]
    assert [entry[:2] for entry in entries] == [
        (MODULES_AT, MODULES_AT + 6000),
        (MODULES_AT + 0x2000, MODULES_AT + 0x2007),
    ]
    assert dict(handoff.regions[1:-1]) == {start: m.data for (start, *_), m in zip(entries, modules, strict=True)}
    for (_, _, string, _), module in zip(entries, modules, strict=True):
        assert info[string - INFO :].startswith(module.string.encode() + b"\0")


def bzimage(init_size: int = 4 << 20) -> Module:
    image = bytearray(0x600)
    image[0x1F1] = 1  # one sector of setup code behind the boot sector
    image[0x201] = 0x66
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<I", image, 0x260, init_size)
    return Module(bytes(image[:0x400]) + b"protected mode", "vmlinuz console=ttyS0 -- work 2")


def test_a_linux_on_its_own_is_entered_by_the_32_bit_protocol() -> None:
    handoff = bare((bzimage(), Module(b"archive", "initramfs")), 64)
    regions = dict(handoff.regions)
    assert regions[0x100000] == b"protected mode"
    stub = regions[handoff.eip]
    assert stub[0] == 0xBE and stub[5] == 0xE9, "mov esi; jmp"
    (parameters,) = struct.unpack_from("<I", stub, 1)
    assert handoff.eip + 10 + struct.unpack_from("<i", stub, 6)[0] == 0x100000
    page = regions[parameters]
    assert page[0x202:0x206] == b"HdrS" and page[0x210] == 0xFF and page[0x1E8] == 2
    initramfs, size = struct.unpack_from("<II", page, 0x218)
    assert regions[initramfs] == b"archive" and size == 7
    (words,) = struct.unpack_from("<I", page, 0x228)
    assert regions[words] == b"console=ttyS0 -- work 2\0"
    assert struct.unpack_from("<QQI", page, 0x2D0 + 20) == (1 << 20, 63 << 20, 1)


@pytest.mark.parametrize("kernel", [Module(bytes(0x600), ""), bzimage(init_size=64 << 20)])
def test_what_is_no_kernel_or_does_not_fit_is_refused(kernel: Module) -> None:
    with pytest.raises(ImageError, match=r"no bzImage|do not fit"):
        bare((kernel, Module(b"archive", "initramfs")), 64)
