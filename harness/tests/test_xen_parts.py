"""What makes a machine of a domain of Xen, without Xen: on memory and console texts made by hand."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from harness.errors import EngineError
from harness.machine.ending import How
from harness.machine.ram import Ram
from harness.machine.vmcb import FIELDS
from harness.machine.xen import dom0, parking, snapshot
from harness.machine.xen.ending import XenConsole, crash, ended
from harness.machine.xen.found import PORTS, EferHunt, Found, find_vmcb, open_ports
from harness.machine.xen.memory import DomainMemory

PAGE, LARGE = 0x1000, 0x20_0000
VMCB_AT, BITMAP, NESTED = 0x5000, 0x8000, 0x10_0000
PRESENT, LARGE_PAGE = 0x7, 0x87


@pytest.fixture
def ram() -> Iterator[Ram]:
    """L0's RAM: 16 MiB of nothing."""
    with Ram(16 << 20) as ram:
        yield ram


def put(ram: Ram, at: int, *numbers: int) -> None:
    os.pwrite(ram.descriptor, struct.pack(f"<{len(numbers)}Q", *numbers), at)


def put_vmcb(ram: Ram, at: int = VMCB_AT, **fields: int) -> None:
    """A VMCB such as Xen makes for the domain that waits in its loop."""
    legal = {
        "intercept_misc2": 1,
        "nested_control": 1,
        "guest_asid": 4,
        "n_cr3": NESTED,
        "iopm_base_pa": BITMAP,
        "rip": parking.WRITTEN[0],
        "rflags": 2,
    }
    for name, value in (legal | fields).items():
        field = FIELDS[name]
        os.pwrite(ram.descriptor, value.to_bytes(field.size, "little"), at + field.offset)


# The parking code


def test_the_parking_code_is_an_image_for_xen() -> None:
    elf = ELFFile(io.BytesIO(parking.elf()))
    load, note = elf.iter_segments()
    assert (elf.elfclass, load["p_paddr"], load["p_memsz"]) == (32, parking.BASE, len(parking.elf()))
    assert isinstance(note, NoteSegment)
    (only,) = note.iter_notes()
    assert only["n_name"] == "Xen"
    assert struct.unpack("<I", only["n_descdata"])[0] == elf["e_entry"]


def test_each_write_of_efer_is_followed_by_an_exit_with_another_eax() -> None:
    code = parking.elf()
    for place in parking.WRITTEN:
        before = code[place - parking.BASE - 14 : place - parking.BASE]
        assert before[:2] == b"\x0f\x30"  # WRMSR
        assert before[-2:] == b"\x0f\xa2"  # CPUID
    assert code[parking.LEAVE - parking.BASE :][:2] == b"\x0f\xa2"
    jump = struct.unpack_from("<b", code, len(code) - 1)[0]
    assert parking.BASE + len(code) + jump == ELFFile(io.BytesIO(code))["e_entry"]


def test_the_values_tell_one_place_from_all_others() -> None:
    assert len(set(parking.EFERS)) == len(parking.EFERS)


# What is found in Xen's memory


def test_efer_is_the_place_that_held_every_value(ram: Ram) -> None:
    hunt = EferHunt(ram)
    for number, value in enumerate(parking.EFERS):
        put(ram, 0x7000, value)
        put(ram, 0x9008, value if number < 2 else 0x77)  # a copy that lags behind
        put(ram, 0xA004, value)  # not where a 64-bit number would be
        hunt.look(value)
    assert hunt.place == 0x7000


@pytest.mark.parametrize("places", [(), (0x7000, 0x7008)])
def test_efer_at_no_place_or_at_two_is_an_error(ram: Ram, places: tuple[int, ...]) -> None:
    hunt = EferHunt(ram)
    for value in parking.EFERS:
        for place in places:
            put(ram, place, value)
        hunt.look(value)
    with pytest.raises(EngineError, match="EFER was not found"):
        _ = hunt.place


def test_the_vmcb_is_the_one_of_the_domain(ram: Ram) -> None:
    put_vmcb(ram)
    put_vmcb(ram, 0x6000, rip=0x10_0000)  # of code that is not ours
    put_vmcb(ram, 0x7000, guest_asid=0)  # one that was never used
    assert find_vmcb(ram, parking.BASE) == VMCB_AT


def test_two_vmcbs_are_an_error(ram: Ram) -> None:
    put_vmcb(ram)
    put_vmcb(ram, 0x6000)
    with pytest.raises(EngineError, match=r"VMCB was not found.*0x5000.*0x6000"):
        find_vmcb(ram, parking.BASE)


def test_only_our_ports_are_opened(ram: Ram) -> None:
    put_vmcb(ram)
    os.pwrite(ram.descriptor, b"\xff" * 0x3000, BITMAP)
    open_ports(ram, VMCB_AT)
    bitmap = ram.read(BITMAP, 0x3000)
    assert [port for port in range(0x1_0000) if not bitmap[port // 8] >> port % 8 & 1] == sorted(PORTS)


def test_xen_is_known_by_its_page_tables(ram: Ram) -> None:
    vmrun = 0xFFFF_82D0_4020_4502
    found = Found(vmcb=VMCB_AT, efer=0x7000, vmrun=vmrun, mapped=0xABC000)
    put(ram, 0x3000 + 8 * 261, 0xABC000 | 0x67)
    put(ram, 0x4000 + 8 * 261, 0xDEF000 | 0x67)
    assert found.of_xen(ram, 0x3018)
    assert not found.of_xen(ram, 0x4000)
    assert not found.of_xen(ram, 0)
    assert not found.of_xen(ram, 0xFFFF_FFFF_F000)  # not RAM at all


# The domain's memory


@pytest.fixture
def memory(ram: Ram) -> DomainMemory:
    """A domain of 4 MiB whose two large pages lie at 6 and 2 MiB."""
    put_vmcb(ram)
    put(ram, NESTED, NESTED + PAGE | PRESENT)
    put(ram, NESTED + PAGE, NESTED + 2 * PAGE | PRESENT)
    put(ram, NESTED + 2 * PAGE, 3 * LARGE | LARGE_PAGE, LARGE | LARGE_PAGE)
    return DomainMemory(ram, VMCB_AT, 2 * LARGE)


def test_memory_is_where_the_nested_tables_say(ram: Ram, memory: DomainMemory) -> None:
    os.pwrite(ram.descriptor, b"last", 4 * LARGE - 4)
    os.pwrite(ram.descriptor, b"first", LARGE)
    assert memory.read(LARGE - 4, 9) == b"lastfirst"
    memory.write(LARGE - 2, b"across")
    assert ram.read(4 * LARGE - 2, 2) == b"ac"
    assert ram.read(LARGE, 4) == b"ross"


@pytest.mark.parametrize(("address", "size"), [(2 * LARGE - 1, 2), (-1, 1), (2 * LARGE, 1)])
def test_outside_memory_there_is_nothing(memory: DomainMemory, address: int, size: int) -> None:
    with pytest.raises(ValueError, match="outside RAM"):
        memory.read(address, size)


def test_a_hole_in_memory_is_an_error(ram: Ram, memory: DomainMemory) -> None:
    put(ram, NESTED + 2 * PAGE, 0)
    with pytest.raises(EngineError, match="no memory at 0x0"):
        DomainMemory(ram, VMCB_AT, 2 * LARGE)


# How a domain ends

TRIPLE = """\
(XEN) d1v0 Unexpected nested vmexit: reason 0x7f
(XEN) d1v0 Triple fault - invoking HVM shutdown action 1
(XEN) *** Dumping Dom1 vcpu#0 state: ***
"""
CRASH = """\
(XEN) d1v0 Unexpected nested vmexit: reason 0x7b
(XEN) d1v0 Weird PIO status 1, port 0x70 read 0xffffffff
(XEN) domain_crash called from io.c:166
(XEN) Domain 1 (vcpu#0) crashed on cpu#0:
(XEN) ----[ Xen-4.17.5  x86_64  debug=n  Not tainted ]----
"""
PANIC = """\
(XEN) [   32.5] Xen call trace:
(XEN) [   32.5]
(XEN) [   32.5] ****************************************
(XEN) [   32.5] Panic on CPU 0:
(XEN) [   32.5] FATAL PAGE FAULT
(XEN) [   32.5] [error_code=0000]
(XEN) [   32.5] ****************************************
(XEN) [   32.5]
(XEN) [   32.5] Reboot in five seconds...
"""


@pytest.mark.parametrize(
    ("console", "words"),
    [
        ("", None),
        (TRIPLE, None),
        (
            CRASH,
            "d1v0 Weird PIO status 1, port 0x70 read 0xffffffff; domain_crash called from io.c:166; "
            "Domain 1 (vcpu#0) crashed on cpu#0:; ----[ Xen-4.17.5  x86_64  debug=n  Not tainted ]----",
        ),
        (PANIC, "Panic on CPU 0:; FATAL PAGE FAULT; [error_code=0000]"),
    ],
)
def test_xens_own_words_of_a_crash(console: str, words: str | None) -> None:
    assert crash(console) == words


@pytest.mark.parametrize(
    ("exitcode", "rflags", "console", "how"),
    [
        (0x72, 0x2, "", None),
        (0x78, 0x202, "", None),  # an interrupt may come
        (0x78, 0x2, "", How.HALTED),
        (0x7F, 0x2, "", How.TRIPLE_FAULT),
        (0x7B, 0x2, TRIPLE, How.TRIPLE_FAULT),
        (0x7B, 0x2, CRASH, How.ENGINE_CRASHED),
        (0x78, 0x2, PANIC, How.ENGINE_CRASHED),
    ],
)
def test_an_end_is_told_by_the_last_exit_and_by_xen(
    ram: Ram, exitcode: int, rflags: int, console: str, how: How | None
) -> None:
    put_vmcb(ram, exitcode=exitcode, rflags=rflags)
    ending = ended(ram, VMCB_AT, console)
    assert (ending.how if ending else None) is how


def test_the_last_words_leave_out_the_chatter(tmp_path: Path) -> None:
    file = tmp_path / "xen.log"
    console = XenConsole(file)
    assert (console.text, console.said, console.size) == ("", "", 0)
    file.write_bytes(
        b"(XEN) CR access emulation failed (1)\r\n(XEN) d1v0 Unexpected nested vmexit: reason 0x14\r\n\r\n"
    )
    assert console.said == "CR access emulation failed (1)"


# dom0


def test_configuration_of_a_domain() -> None:
    assert "nestedhvm=1" in dom0.Domain(128, svm=True, npt=True).config
    assert "cpuid" not in dom0.Domain(128, svm=True, npt=True).config
    assert 'cpuid="host,svm_npt=0"' in dom0.Domain(128, svm=True, npt=False).config
    assert "nestedhvm=0" in dom0.Domain(128, svm=False, npt=True).config
    foreign = dom0.Domain(64, svm=False, npt=False, vendor="GenuineIntel").config
    assert 'cpuid=["0:ebx=01110101011011100110010101000111,' in foreign  # "Genu"


def test_initramfs_holds_programs_libraries_and_modules(tmp_path: Path) -> None:
    xen, kernel, busybox = tmp_path / "xen", tmp_path / "kernel", tmp_path / "busybox"
    for path in (
        *(
            xen / f"usr/lib/xen-4.17/bin/{name}"
            for name in ("xl", "xenstored", "xenconsoled", "xen-init-dom0", "other")
        ),
        kernel / "usr/lib/modules/6.1/kernel/drivers/xen/xen-privcmd.ko",
        busybox / "usr/bin/busybox",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    archive = dom0.initramfs(xen, kernel, busybox, dom0.Domain(128, svm=True, npt=True))
    for name in (
        b"usr/lib/xen-4.17/bin/xl\0",
        b"modules/xen-privcmd.ko\0",
        b"bin/busybox\0",
        b"parking.elf\0",
        b"init\0",
    ):
        assert name in archive
    assert b"bin/other\0" not in archive
    with pytest.raises(EngineError, match="has no"):
        dom0.one(busybox, "boot/vmlinuz-*")


# Kept states


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SVMCONF_CACHE", str(tmp_path))
    return tmp_path


FOUND = Found(vmcb=1, efer=2, vmrun=3, mapped=4)


def test_a_state_is_made_once(cache: Path) -> None:
    made: list[Path] = []

    def make(state: snapshot.State) -> None:
        made.append(state.home)
        (state.home / "found.json").write_text(FOUND.model_dump_json())

    assert [snapshot.kept("xen-0", "key", make, 1).found for _ in range(2)] == [FOUND, FOUND]
    assert len(made) == 1
    assert cache in made[0].parents


def test_a_refusal_is_remembered(cache: Path) -> None:
    state = snapshot.kept("xen-0", "key", lambda state: state.refuse("no such thing"), 1)
    assert state.refusal == "no such thing"
    assert snapshot.kept("xen-0", "key", lambda _: pytest.fail("asked again"), 1).refusal == "no such thing"


def test_what_was_not_finished_is_not_kept(cache: Path) -> None:
    def make(state: snapshot.State) -> None:
        (state.home / "ram").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(EngineError, match="No space left") as raised:
        snapshot.kept("xen-0", "key", make, 1)
    assert "room" in raised.value.hint
    assert not list(cache.rglob("ram"))


def test_old_states_make_room(cache: Path) -> None:
    for number in range(9):
        state = snapshot.kept("xen-0", f"key{number}", lambda state: state.refuse(""), 1)
        os.utime(state.home, (number, number))
    kept = {folder.name for folder in state.home.parent.iterdir() if folder.is_dir()}
    assert len(kept) < 9
    assert {"key7", "key8"} <= kept


def test_ram_is_copied_with_its_holes(ram: Ram, tmp_path: Path) -> None:
    os.pwrite(ram.descriptor, b"here", 5 << 20)
    os.pwrite(ram.descriptor, bytes(1 << 20), 8 << 20)  # written, but nothing
    with (tmp_path / "ram").open("wb") as file:
        snapshot.copy(ram.descriptor, file.fileno(), sparse=True)
        assert os.fstat(file.fileno()).st_blocks * 512 <= 1 << 17
    with (tmp_path / "ram").open("rb") as file, Ram(16 << 20) as other:
        snapshot.copy(file.fileno(), other.descriptor)
        assert other.read(0, other.size) == ram.read(0, ram.size)
