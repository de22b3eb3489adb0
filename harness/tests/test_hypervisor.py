"""Our hypervisor as an image: every way to boot it, its guests, and what it says when things go wrong."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness import build
from harness.boot import Boot, Fault, Insn
from harness.engines.qemu import Qemu
from harness.hypervisors.ours import our_manifest
from harness.machine.ending import How
from harness.machine.records import Record, RecordReader
from harness.machine.vmcb import Vmcb
from harness.model import exits
from harness.observation import Observation

MULTIBOOT1 = b"\x02\xb0\xad\x1b"


def record(seen: Observation, kind: str) -> Record:
    found = list(seen.of_kind(kind))
    assert found, f"no record {kind}: {seen.console}"
    return found[0]


def run_plain(qemu: Qemu, folder: Path, *boot: str) -> list[Record]:
    """Boot without our own machinery, since it boots by ``-kernel`` only; the records from port E9h."""
    log = folder / "e9.log"
    command = [
        *(*qemu.argv, "-machine", "pc", "-cpu", "EPYC", "-m", "128", "-nodefaults", "-vga", "none"),
        *("-display", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-debugcon", f"file:{log}", *boot),
    ]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 0x10 << 1 | 1, done.stderr
    reader = RecordReader()
    reader.feed(log.read_bytes())
    assert not reader.damage
    return reader.records


def test_boots_by_multiboot_1(qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(guest="hello"), "EPYC", tmp_path)
    assert record(seen, "boot").fields["protocol"] == "multiboot1"
    assert record(seen, "boot").fields["cmdline"] == "guest=hello"
    assert seen.outcome == "guest-finished" and not seen.damage


def test_boots_by_pvh(qemu: Qemu, tmp_path: Path) -> None:
    """QEMU takes the PVH note when there is no multiboot header."""
    image = build.image().read_bytes()
    assert image.count(MULTIBOOT1, 0, 8192 + 4096) == 1
    copy = tmp_path / "pvh.elf"
    copy.write_bytes(image.replace(MULTIBOOT1, bytes(4), 1))
    records = run_plain(qemu, tmp_path, "-kernel", str(copy), "-append", "guest=long64")
    assert records[0].fields["protocol"] == "pvh" and records[0].fields["cmdline"] == "guest=long64"


@pytest.mark.parametrize("protocol", ["multiboot", "multiboot2"])
def test_boots_by_grub(protocol: str, qemu: Qemu, tmp_path: Path) -> None:
    missing = [tool for tool in ("grub-mkrescue", "xorriso", "mformat") if shutil.which(tool) is None]
    if missing or not Path("/usr/lib/grub/i386-pc").is_dir():
        pytest.skip(
            f"needs {', '.join(missing) or 'grub-pc-bin'}: apt-get install grub-pc-bin grub-common xorriso mtools"
        )
    tree = tmp_path / "tree"
    (tree / "boot" / "grub").mkdir(parents=True)
    shutil.copy(build.image(), tree / "boot" / "hypervisor.elf")
    (tree / "boot" / "grub" / "grub.cfg").write_text(f"{protocol} /boot/hypervisor.elf guest=hidden\nboot\n")
    iso = tmp_path / "it.iso"
    grub = [
        "grub-mkrescue",
        "-d",
        "/usr/lib/grub/i386-pc",
        "--fonts=",
        "--locales=",
        "--themes=",
        "-o",
        str(iso),
        str(tree),
    ]
    subprocess.run(grub, check=True, capture_output=True)
    records = run_plain(qemu, tmp_path, "-cdrom", str(iso))
    assert records[0].fields["protocol"] == protocol.replace("multiboot", "multiboot1").replace("12", "2")
    assert records[0].fields["cmdline"] == "guest=hidden"


@pytest.mark.parametrize("cpu", ["EPYC", "qemu64"])
@pytest.mark.parametrize(
    ("guest", "outcome"),
    [
        ("hello", "guest-finished"),
        ("long64", "guest-finished"),
        ("mixed", "guest-finished"),
        ("halt", "guest-halted"),
        ("triple", "guest-shutdown"),
        ("stray", "guest-memory-violation"),
        ("odd", "unhandled-exit"),
        ("lengths", "guest-finished"),
    ],
)
def test_guests_end_as_they_must(guest: str, outcome: str, cpu: str, qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(guest=guest, count=20), cpu, tmp_path)
    assert (seen.ended.how, seen.outcome) == (How.EXITED, outcome), seen.console
    assert not seen.damage and record(seen, "outcome").fields["name"] == outcome
    if guest == "hello":
        assert seen.witness["HELLO"].value == 16
        assert sum("hello" in str(r.fields["text"]).lower() for r in seen.of_kind("guest.print")) == 2
    if guest == "long64":
        assert seen.witness["EFER"].value & 0x500 == 0x500 and seen.witness["CR0"].value & 0x8000_0001 == 0x8000_0001
    if guest == "odd":
        assert record(seen, "exit").fields["name"] == "RDPMC"


def test_shadow_paging_can_be_asked_for(qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(guest="long64", words=("npt=off",)), "EPYC", tmp_path)
    assert seen.outcome == "guest-finished"
    assert record(seen, "paging").fields["mode"] == "shadow"
    assert seen.vmruns()[0][1]["nested_control"] == 0


@pytest.mark.parametrize("line", ["guest=nobody", "count=many", "npt=maybe", "without=lbr,wings", "nonsense"])
def test_bad_command_line_is_refused(line: str, qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(words=(line,)), "EPYC", tmp_path)
    assert seen.outcome == "bad-command-line" and not seen.svm_executed()


@pytest.mark.parametrize(
    ("defect", "how", "rule", "field"),
    [
        ("bad-rax", "gp", "SVM-15.5.1-004", "rAX"),
        ("rax-beyond", "gp", "SVM-15.5.1-005", "rAX"),
        ("no-vmrun-intercept", "invalid", "SVM-15.5.1-C-017", None),
        ("asid-zero", "invalid", "SVM-15.5.1-C-022", None),
        ("illegal-cr0", "invalid", "SVM-15.5.1-C-002", None),
    ],
)
def test_refused_vmrun_is_explained(
    defect: str, how: str, rule: str, field: str | None, qemu: Qemu, tmp_path: Path
) -> None:
    """This is where the person who began this got stuck: the rule is named, with the value that breaks it."""
    seen = qemu.observe(our_manifest(defect), Boot(guest="hello"), "EPYC", tmp_path)
    assert seen.outcome == ("vmrun-gp" if how == "gp" else "vmrun-invalid")
    refused = record(seen, "vmrun.refused").fields
    assert (refused["how"], refused["rule"]) == (how, rule)
    assert field is None or refused["field"] == field
    rax = seen.executed(Insn.VMRUN)[0].before["rax"]
    assert how == "invalid" or refused["value"] == rax


def test_unexpected_exception_is_a_record(qemu: Qemu, tmp_path: Path) -> None:
    """The host is sent astray to unmapped memory: #PF with its address, and an exit, not a hang."""
    astray = Fault(insn=Insn.CPUID, select=0x8000_000A, force={"rip": (1 << 40, 0)})
    seen = qemu.observe(our_manifest(), Boot(faults=(astray,)), "EPYC", tmp_path)
    assert seen.outcome == "exception"
    fields = record(seen, "exception").fields
    assert fields["vector"] == 14 and fields["rip"] == fields["cr2"]
    assert isinstance(fields["cr2"], int) and fields["cr2"] >> 40 == 1
    assert {"error", "cs", "rsp", "rflags", "rax", "r15"} <= set(fields)


INTERRUPTED = {
    "CLOSED": 0,
    "SHADOW": 1,
    "ORDER": 0x9141,
    "HELD": 0,
    "CR8": 6,
    "LOWERED": 1,
    "WOKEN": 0x61,
    "NMI": 1,
    "NESTED": 1,
    "AFTER": 2,
    "NMIWOKEN": 3,
}


@pytest.mark.parametrize("cpu", ["EPYC", "qemu64"])
@pytest.mark.parametrize("way", ["inject", "virtual"])
def test_guest_is_interrupted(way: str, cpu: str, qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(guest="interrupts", words=(f"interrupts={way}",)), cpu, tmp_path)
    assert seen.outcome == "guest-finished", seen.console
    assert {name: it.value for name, it in seen.witness.items()} == INTERRUPTED


def test_halted_guest_idles_the_host(qemu: Qemu, tmp_path: Path) -> None:
    """From HLT to the interrupt there is no VMRUN, and the tick comes by the host's own HLT."""
    seen = qemu.observe(our_manifest(), Boot(guest="interrupts", vmruns=1000), "EPYC", tmp_path)
    runs = [(vmcb.rip, Vmcb(event.vmcb_after).exitcode) for event, vmcb in seen.vmruns() if event.vmcb_after]
    halts = [number for number, (_, code) in enumerate(runs) if code == exits.HLT]
    assert len(halts) == 2
    for number in halts:
        injected = Vmcb(seen.vmruns()[number + 1][0].vmcb or b"")
        assert injected.eventinj & 0xFF in (0x61, 2) and injected.rip > runs[number][0]


@pytest.mark.parametrize("words", [(), ("npt=off",)])
def test_memory_given_back_is_new_when_touched_again(words: tuple[str, ...], qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(guest="balloon", words=words), "EPYC", tmp_path)
    assert seen.outcome == "guest-finished", seen.console
    assert {name: it.value for name, it in seen.witness.items()} == {
        "GAVE": 0,
        "REFUSED": 0xFFFF_FFFF,
        "FRESH": 0,
        "KEPT": 0xCAFE,
    }


def test_moves_to_the_other_processor(qemu: Qemu, tmp_path: Path) -> None:
    """After every third exit, with a flush there; its registers, DR0 to DR3 among them, go with it."""
    boot = Boot(guest="canary", count=9, words=("move-processor=3",), processors=2, vmruns=100)
    seen = qemu.observe(our_manifest(), boot, "EPYC", tmp_path)
    assert seen.outcome == "guest-finished", seen.console
    assert {name: it.value for name, it in seen.witness.items() if it.value} == {"ROUNDS": 9}
    runs = seen.vmruns()
    assert [event.processor for event, _ in runs] == [number // 3 % 2 for number in range(len(runs))]
    assert all(vmcb.tlb_control for (_, vmcb) in runs[3::3])
    assert len({event.before["rax"] for event, _ in runs}) == 1


def test_moves_nowhere_without_a_second_processor(qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(guest="canary", count=3, words=("move-processor=1",)), "EPYC", tmp_path)
    assert seen.outcome == "guest-finished" and "no second processor" in seen.console


@pytest.mark.parametrize("guest", ["interrupts", "canary,canary,spin"])
def test_moves_of_all_kinds_go_together(guest: str, qemu: Qemu, tmp_path: Path) -> None:
    """Also with the clock, whose interrupts keep a guest on the first processor, and with shadow tables."""
    words = ("move-processor=2", "move-vmcb=3", "slice=10", "npt=off")
    seen = qemu.observe(our_manifest(), Boot(guest=guest, count=50, words=words, processors=2), "EPYC", tmp_path)
    assert seen.outcome == "guest-finished", seen.console
    if guest == "interrupts":
        assert {name: it.value for name, it in seen.witness.items()} == INTERRUPTED


def test_guests_are_kept_apart(qemu: Qemu, tmp_path: Path) -> None:
    """Eight guests: no page of host memory is two guests', and none is a table or a VMCB of another."""
    boot = Boot(guest=",".join(["canary"] * 8), count=3, vmruns=200)
    seen = qemu.observe(our_manifest(), boot, "EPYC", tmp_path)
    assert seen.outcome == "guest-finished" and len(seen.guests) == 8
    owner: dict[int, int] = {}
    for number, guest in enumerate(seen.guests):
        assert guest.witness["ME"].value == number and guest.witness["ROUNDS"].value == 3
        assert sum(it.value for name, it in guest.witness.items() if name not in ("ME", "ROUNDS")) == 0
        pages = {it.host + at for it in guest.mappings for at in range(0, it.size, 0x1000)}
        assert len(pages) == 512
        for page in (*pages, *guest.tables, guest.vmcb):
            assert owner.setdefault(page, number) == number
    assert len({vmcb.guest_asid for _, vmcb in seen.vmruns()}) == 8


@pytest.mark.parametrize(("slice_", "order"), [(0, [0, 1]), (10, [1, 0])])
def test_slice_ends_a_turn(slice_: int, order: list[int], qemu: Qemu, tmp_path: Path) -> None:
    """A guest that never yields gives way when its slice is over; without slices it runs to its end first."""
    boot = Boot(guest="spin,hello", count=20_000, words=(f"slice={slice_}",))
    seen = qemu.observe(our_manifest(), boot, "EPYC", tmp_path)
    assert seen.outcome == "guest-finished", seen.console
    assert [r.fields["guest"] for r in seen.of_kind("guest.end")] == order


def test_ends_of_several_guests(qemu: Qemu, tmp_path: Path) -> None:
    """One guest's end is not the others'; the first that did not finish is the outcome."""
    seen = qemu.observe(our_manifest(), Boot(guest="hello,triple,halt,canary", count=2, vmruns=60), "EPYC", tmp_path)
    assert seen.outcome == "guest-shutdown"
    assert [(r.fields["guest"], r.fields["how"]) for r in seen.of_kind("guest.end")] == [
        (0, "exit"),
        (1, "shutdown"),
        (3, "exit"),
        (2, "halt"),
    ]


@pytest.mark.parametrize("line", ["guest=hello,nobody", "guest=" + ",".join(["hello"] * 9), "guest=hello,", "slice=x"])
def test_bad_list_of_guests_is_refused(line: str, qemu: Qemu, tmp_path: Path) -> None:
    seen = qemu.observe(our_manifest(), Boot(words=(line,)), "EPYC", tmp_path)
    assert seen.outcome == "bad-command-line"
