"""``svmconf trace`` without an engine: the plugin's events, passages, tallies, and how they read."""

from __future__ import annotations

import io
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from harness.boot import Boot, Insn
from harness.errors import ProtocolError, ToolMissing
from harness.machine.ending import Ending, How
from harness.machine.registers import EFER_SVME
from harness.machine.vmcb import FIELDS, Vmcb
from harness.model import exits
from harness.observation import Event as Seen
from harness.observation import Observation
from harness.trace import debugged, library, log
from harness.trace.passage import Pairing, Passage
from harness.trace.record import of_passage, of_tally
from harness.trace.stream import Event, Kind, events
from harness.trace.tally import NO_EXIT, UNKNOWN, Spread, Tally, detail, reason

VMCB, OTHER_VMCB = 0x5000, 0x6000
HOST, GUEST = 0x1003, 0x9003
"""Behind the hypervisor's VMRUN, and behind one that its guest tries."""


class Plugin:
    """Writes what the plugin would."""

    def __init__(self) -> None:
        self.said = b""
        self.pages: dict[int, bytearray] = {}

    def tell(
        self,
        kind: Kind,
        instructions: int,
        behind: int = HOST,
        cpu: int = 0,
        rax: int | None = VMCB,
        rcx: int = 0,
        efer: int = EFER_SVME,
        cs: int = 8,
        seconds: float = 0.0,
        **fields: int,
    ) -> Plugin:
        """One event; ``fields`` of the VMCB were written since the last."""
        flags, words = 0, []
        if rax is not None:
            flags = 3 if rax in self.pages else 7
            page = self.pages.setdefault(rax, bytearray(0x1000))
            old = bytes(page)
            for name, value in fields.items():
                field = FIELDS[name.replace("__", ".")]
                page[field.offset : field.offset + field.size] = value.to_bytes(field.size, "little")
            words = [n for n in range(512) if old[8 * n : 8 * n + 8] != page[8 * n : 8 * n + 8]]
        self.said += struct.pack(
            "<BBHIQQQ6Q",
            *(kind, cpu, flags, len(words), int(seconds * 1e9), instructions, behind),
            *(rax or 0, 0, rcx, 0, efer, cs),
        )
        for n in words:
            self.said += struct.pack("<H", n) + self.pages[rax or 0][8 * n : 8 * n + 8]
        return self

    def vmrun(self, instructions: int, behind: int = HOST, **more: int) -> Plugin:
        return self.tell(Kind.VMRUN, instructions, behind, **more)

    def vmexit(self, instructions: int, behind: int = HOST, **more: int) -> Plugin:
        return self.tell(Kind.VMEXIT, instructions, behind, **more)

    def passages(self) -> list[Passage]:
        return list(Pairing().passages(events(io.BytesIO(self.said))))


@pytest.fixture
def plugin() -> Plugin:
    return Plugin()


# The plugin's events


def test_an_event_that_is_cut_short_ends_the_stream(plugin: Plugin) -> None:
    said = plugin.vmrun(1, guest_asid=1).vmexit(5, exitcode=exits.VMMCALL).said
    sizes = (0, 10, 80, 90, 120, len(said))
    assert [len(list(events(io.BytesIO(said[:size])))) for size in sizes] == [0, 0, 0, 1, 1, 2]


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(ProtocolError, match="means nothing"):
        list(events(io.BytesIO(b"x" * 80)))


def test_words_change_the_page_that_was_told_before(plugin: Plugin) -> None:
    first, second, third = events(
        io.BytesIO(plugin.vmrun(1, guest_asid=1, rip=7).vmexit(5, rip=9).vmrun(9, rip=0).said)
    )
    pages = [Vmcb(event.vmcb or b"") for event in (first, second, third)]
    assert [(page["guest_asid"], page["rip"]) for page in pages] == [(1, 7), (1, 9), (1, 0)]


# Passages


def test_instructions_belong_to_the_guest_or_to_the_host(plugin: Plugin) -> None:
    plugin.vmrun(100).vmexit(111).vmrun(120).vmexit(121)
    assert [(one.number, one.guest, one.host) for one in plugin.passages()] == [(1, 10, 10), (2, 0, None)]


def test_the_hypervisor_wrote_what_changed_since_the_exit(plugin: Plugin) -> None:
    plugin.vmrun(1, guest_asid=1).vmexit(2, rip=5, exitcode=exits.CPUID).vmrun(3, rip=7).vmexit(4)
    first, second = plugin.passages()
    assert first.last is None and second.last is not None and second.before is not None
    assert log.changes(second.last, second.before) == {"rip": (5, 7)}
    assert first.before is not None and first.after is not None
    assert log.changes(first.before, first.after) == {"exitcode": (0, exits.CPUID), "rip": (0, 5)}


def test_what_changed_is_told_by_vmcb(plugin: Plugin) -> None:
    plugin.vmrun(1, rip=1).vmexit(2).vmrun(3, rax=OTHER_VMCB, rip=2).vmexit(4, rax=OTHER_VMCB).vmrun(5, rip=3).vmexit(6)
    third = plugin.passages()[2]
    assert third.last is not None and third.before is not None
    assert log.changes(third.last, third.before) == {"rip": (1, 3)}


def test_a_vmrun_that_is_executed_again_had_failed(plugin: Plugin) -> None:
    failed, done = plugin.vmrun(1).vmrun(9).vmexit(12).passages()
    assert (failed.came_back, failed.guest, done.came_back, done.guest) == (False, None, True, 2)


def test_a_vmrun_elsewhere_shows_that_the_first_had_failed(plugin: Plugin) -> None:
    failed, done = plugin.vmrun(1).vmrun(9, GUEST).vmexit(12, GUEST).passages()
    assert (failed.behind, failed.came_back, done.behind, done.came_back) == (HOST, False, GUEST, True)


def test_a_vmrun_that_a_guest_tries_is_no_passage(plugin: Plugin) -> None:
    pairing = Pairing()
    said = plugin.vmrun(1).vmrun(9, GUEST, rax=0x77000).vmexit(10).vmrun(20).vmexit(22).said
    passages = list(pairing.passages(events(io.BytesIO(said))))
    assert [(one.number, one.behind, one.guest, one.host) for one in passages] == [(1, HOST, 8, 11), (2, HOST, 1, None)]
    assert pairing.attempts == 1


@pytest.mark.parametrize("fault", [{"rax": VMCB + 8}, {"efer": 0}, {"cs": 0x2B}])
def test_a_handler_that_skips_a_vmrun_is_no_exit(plugin: Plugin, fault: dict[str, int]) -> None:
    failed, done = plugin.vmrun(1, **fault).vmexit(5, rax=fault.get("rax", VMCB)).vmrun(9).vmexit(12).passages()
    assert (failed.came_back, failed.host, done.came_back) == (False, None, True)


def test_a_guest_that_skips_its_own_vmrun_goes_on(plugin: Plugin) -> None:
    pairing = Pairing()
    said = plugin.vmrun(1).vmrun(9, GUEST, cs=0x2B).vmexit(12, GUEST, cs=0x2B).vmexit(20).said
    (only,) = pairing.passages(events(io.BytesIO(said)))
    assert (only.behind, only.came_back, only.guest, pairing.attempts) == (HOST, True, 18, 1)


def test_the_last_vmrun_may_not_come_back(plugin: Plugin) -> None:
    (only,) = plugin.vmrun(1).tell(Kind.END, 5000, 0, rax=None).passages()
    assert not only.came_back and reason(only) == NO_EXIT


def test_processors_do_not_mix(plugin: Plugin) -> None:
    plugin.vmrun(1, rax=VMCB).vmrun(100, cpu=1, rax=OTHER_VMCB).vmexit(105, cpu=1, rax=OTHER_VMCB).vmexit(4)
    assert {(one.cpu, one.guest) for one in plugin.passages()} == {(1, 4), (0, 2)}


@pytest.mark.parametrize(("together", "total"), [(False, 17), (True, 9)])
def test_processors_that_are_counted_together_are_counted_once(together: bool, total: int) -> None:
    pairing = Pairing()
    ends = [Event(Kind.END, cpu, 0.0, count, 0, {}, None, together) for cpu, count in ((0, 8), (1, 9))]
    assert not list(pairing.passages(ends)) and sum(pairing.instructions.values()) == total


def test_a_vmcb_that_was_not_known_at_vmrun_is_known_at_the_exit(plugin: Plugin) -> None:
    (only,) = plugin.vmrun(1, rax=0x1).vmexit(3, exitcode=exits.HLT).passages()
    assert (only.rax, only.before, reason(only)) == (VMCB, None, "HLT")


def test_without_registers_there_are_counts_all_the_same(plugin: Plugin) -> None:
    (only,) = plugin.tell(Kind.VMRUN, 1, rax=None).tell(Kind.VMEXIT, 3, rax=None).passages()
    assert (only.guest, reason(only)) == (1, UNKNOWN)


# Tallies


@pytest.mark.parametrize(
    ("code", "info1", "name"),
    [
        (exits.CPUID, 0, "CPUID"),
        (exits.MSR, 0, "RDMSR"),
        (exits.MSR, 1, "WRMSR"),
        (exits.IOIO, 1, "IN"),
        (exits.IOIO, 0, "OUT"),
        (exits.NPF, 1, "NPF"),
        (exits.INVALID, 0, "INVALID"),
        (0xFFFF_FFFF, 0, "INVALID"),
        (0x399, 0, "0x399"),
    ],
)
def test_reasons(plugin: Plugin, code: int, info1: int, name: str) -> None:
    (only,) = plugin.vmrun(1).vmexit(2, exitcode=code, exitinfo1=info1).passages()
    assert reason(only) == name


def test_a_tally_counts_by_reason(plugin: Plugin) -> None:
    plugin.vmrun(0)
    for n in range(1, 101):
        plugin.vmexit(1000 * n, exitcode=exits.CPUID).vmrun(1000 * n + (n if n > 98 else 4))
    tally = Tally()
    for passage in plugin.passages():
        tally.add(passage)
    row = tally.rows["CPUID"]
    assert (row.exits, tally.rows[NO_EXIT].exits, tally.vmruns) == (100, 1, 101)
    assert row.host == Spread(5, 5, 100) and row.guest == Spread(900, 995, 995)


def test_details_are_counted_by_what_an_exit_was_about(plugin: Plugin) -> None:
    plugin.vmrun(1).vmexit(2, exitcode=exits.MSR, exitinfo1=1, rcx=0x1B)
    plugin.vmrun(3).vmexit(4, exitcode=exits.IOIO, exitinfo1=0x3F8 << 16)
    plugin.vmrun(5).vmexit(6, exitcode=exits.NPF, exitinfo1=6, exitinfo2=0xFEE0_00B0)
    plugin.vmrun(7).vmexit(8, exitcode=exits.CPUID, rax=VMCB).vmrun(9).vmexit(10, exitcode=exits.HLT).vmrun(11)
    found = [detail(passage) for passage in plugin.passages()]
    assert found == ["WRMSR 0x1b", "OUT 0x3f8", "NPF page 0xfee00000", "CPUID eax=0x0", "HLT", NO_EXIT]


# How it reads


def test_a_table_has_only_what_was_counted(plugin: Plugin) -> None:
    tally = Tally()
    tally.add(plugin.vmrun(1).vmexit(2, exitcode=exits.CPUID).passages()[0])
    assert log.table(tally) == ["reason  exits   share", "CPUID       1  100.0%"]
    headings, row = log.table(Tally(rows=tally.rows, seconds=2.0, instructions=5_000_000))
    assert headings.split()[-6:] == ["guest", "min", "median", "p99", "host", "min", "median", "p99"][-6:]
    assert row.split() == ["CPUID", "1", "100.0%", "0", "0", "0", "0"]


def test_bytes_without_a_name_show_as_quadwords() -> None:
    page = bytearray(0x1000)
    page[0x6A1] = 0xFF
    assert log.changes(Vmcb(bytes(0x1000)), Vmcb(bytes(page))) == {"at 6A0h": (0, 0xFF00)}


def test_every_field_is_told_when_it_changes() -> None:
    for name, field in FIELDS.items():
        page = bytearray(0x1000)
        page[field.offset + field.size - 1] = 0x80
        assert list(log.changes(Vmcb(bytes(0x1000)), Vmcb(bytes(page)))) == [name]


def test_an_exit_says_what_belongs_to_it(plugin: Plugin) -> None:
    plugin.vmrun(1).vmexit(2, exitcode=exits.MSR, rcx=0xC000_0080, rip=0x7C00)
    plugin.vmrun(3).vmexit(4, exitcode=exits.NPF, exitinfo1=6, exitinfo2=0x4000_0000, exitintinfo=0x8000_0030)
    first, second = plugin.passages()
    assert log.what(first) == "RDMSR msr=0xc0000080 at 0x0:0x7c00"
    assert log.what(second) == "NPF (write, guest_physical=0x40000000) at 0x0:0x7c00 while interrupt 48 was delivered"


def test_a_line_of_json_for_each(plugin: Plugin) -> None:
    (only,) = plugin.vmrun(1, rip=1).vmexit(2, exitcode=exits.CPUID, rip=3).passages()
    said = json.loads(of_passage(only))
    assert (said["reason"], said["vmcb"], said["guest_instructions"]) == ("CPUID", VMCB, 0)
    assert said["hypervisor_wrote"] == {"rip": 1} and said["processor_wrote"]["rip"] == [1, 3]
    assert "host_instructions" not in said
    tally = Tally(instructions=7)
    tally.add(only)
    summary = json.loads(of_tally(tally, "stopped", None))
    assert summary["reasons"]["CPUID"]["exits"] == 1 and summary["instructions"] == 7


# Where there is no plugin


def test_a_debuggers_trace_gives_passages() -> None:
    before, after = bytes(0x1000), bytearray(0x1000)
    after[0x70] = exits.HLT
    state = {"rax": VMCB, "rip": HOST - 3}
    vmrun = Seen(insn=Insn.VMRUN, cpl=0, before=state, after=state, vmcb=before, vmcb_after=bytes(after))
    failed = Seen(insn=Insn.VMRUN, cpl=0, before=state, vmcb=before)
    seen = Observation(
        engine="",
        engine_version="",
        cpu="",
        boot=Boot(),
        command=[],
        image_sha256="",
        ended=Ending(how=How.EXITED),
        trace=[vmrun, failed],
    )
    first, second = debugged.passages(seen)
    assert (reason(first), first.guest, first.vmrun, reason(second)) == ("HLT", None, HOST - 3, NO_EXIT)
    assert second.last is not None and second.last.data == bytes(after)


# The plugin's library


@pytest.mark.parametrize("spoken", [1, 4, 7])
def test_the_plugin_compiles_for_every_interface_without_a_warning(spoken: int, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: apt-get install gcc libc6-dev")
    source = Path(library.__file__).parent / "plugin" / "vmruns.c"
    command = ["cc", *library._FLAGS, "-Werror", f"-DAPI={spoken}", str(source), "-o", str(tmp_path / "it.so")]
    subprocess.run(command, check=True)


@pytest.mark.parametrize(
    ("version", "spoken"),
    [("5.2.0 (Debian)", None), ("6.0.0", 1), ("8.2.4", 1), ("9.0.2", None), ("9.2.0", 4), ("10.2.1", 4), ("11.1", 7)],
)
def test_the_interface_follows_the_version(version: str, spoken: int | None) -> None:
    assert library.interface(version) == spoken


def test_a_qemu_without_plugins_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "qemu"
    binary.write_bytes(b"\x7fELF without")
    assert "without TCG plugins" in library.lacks(binary, "10.0")
    assert "no plugin interface" in library.lacks(binary, "5.2")
    binary.write_bytes(b"\x7fELF with qemu_plugin_register_atexit_cb in it")
    assert not library.lacks(binary, "10.0")


def test_without_a_compiler_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"no C compiler.*gcc"):
        library.build("10.0")
