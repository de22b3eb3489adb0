"""``svmconf explain``: a VMCB in a file, our hypervisor's seeded defects, strangers' images, a machine that runs."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import build
from harness.boot import Boot, Insn
from harness.cli import main
from harness.deadline import Deadline
from harness.engines.select import binary
from harness.machine.ending import Ending, How
from harness.machine.process import Child
from harness.machine.registers import Registers
from harness.machine.vmcb import Vmcb
from harness.model.explain.sources import Known, of_file, of_observation
from harness.model.explain.words import Explanation
from harness.model.guests import Mode, guest
from harness.model.state import with_field
from harness.observation import Event, Observation
from harness.tests.model_edges import EVERYTHING
from harness.tests.test_model import RAW

VIRTUAL = (
    "rAX=0xffff8000001a5008 is a virtual, unaligned address; "
    "VMRUN needs the physical address of a 4-KiB-aligned page (15.5.1)"
)


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status, and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def first(self) -> str:
        """The line that says why."""
        return self.stdout.splitlines()[0]


Explain = Callable[..., Done]


@pytest.fixture
def explain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    """Runs the command in this process, as its entry point would."""

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["svmconf", "explain", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as leaving:
            main()
        said = capsys.readouterr()
        return Done(int(leaving.value.code or 0), said.out, said.err)

    return run


# A VMCB in a file


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., Path]:
    """Writes a VMCB to a file."""

    def write(vmcb: Vmcb) -> Path:
        place = tmp_path / "vmcb"
        place.write_bytes(vmcb.data)
        return place

    return write


LEGAL = guest(Mode.LONG)


def test_a_legal_file(explain: Explain, page: Callable[..., Path]) -> None:
    done = explain("--vmcb", page(LEGAL))
    assert (done.status, done.stdout) == (0, "VMRUN: legal, it breaks no rule\n")


def test_the_motivating_case_is_one_line(explain: Explain, page: Callable[..., Path]) -> None:
    done = explain("--vmcb", page(LEGAL), "--rax", "0xffff_8000_001a_5008", "--cpl", "0")
    assert done.status == 1
    assert done.first == f"#GP(0) on VMRUN (CPL 0): {VIRTUAL}"


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (("--efer", "0xd00"), "#UD on VMRUN (CPL 0): the host's EFER is 0xd00: SVME is 0 (15.4)"),
        (("--cpl", "3"), "#GP(0) on VMRUN (CPL 3): the host's CPL is 0x3: CPL is 3 (15.5.1)"),
        (("--efer", "4096", "--cr0", "0"), "#UD on VMRUN (CPL 0): the host's CR0 is 0x0: real mode: PE is 0 (15.5.1)"),
        (("--rax", "0x1800"), "#GP(0) on VMRUN (CPL 0): rAX=0x1800 is an unaligned address;"),
        (("--rax", "1000000000000000000"), "#GP(0) on VMRUN (CPL 0): rAX=0xde0b6b3a7640000 is an address beyond"),
    ],
)
def test_what_the_host_does_wrong(
    explain: Explain, page: Callable[..., Path], option: tuple[str, ...], line: str
) -> None:
    done = explain("--vmcb", page(LEGAL), *option)
    assert done.status == 1 and done.first.startswith(line), done.stdout


def test_fields_with_place_value_section_and_change(explain: Explain, page: Callable[..., Path]) -> None:
    bad = with_field(with_field(LEGAL, "cr0", 0xA000_0011), "guest_asid", 0)
    done = explain("--vmcb", page(bad))
    assert done.stdout.splitlines() == [
        "VMEXIT_INVALID on VMRUN (CPL 0): CR0 (VMCB 558h) is 0xa0000011: NW is 1 while CD is 0 (15.5.1)",
        "and GUEST_ASID (VMCB 058h) is 0x0: it is the host's (15.5.1)",
        "  SVM-15.5.1-C-002  CR0.NW may be set only together with CR0.CD",
        "  SVM-15.5.1-C-022  The ASID must not be 0, which is the host's",
        "  smallest change   clear NW (bit 29): cr0 = 0x80000011",
        "  smallest change   set bit 0: guest_asid = 0x1",
    ]


@given(number=st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_page_holds(number: int, tmp_path: Path) -> None:
    """Bytes that nobody meant for a VMCB have something to be said of, too."""
    (file := tmp_path / "garbage").write_bytes(random.Random(number).randbytes(0x1000))
    found = of_file(file, Known(EVERYTHING if number & 1 else None), rax=number)
    assert found.status == 1 and "VMRUN" in found.text() and Explanation.model_validate_json(found.model_dump_json())


def test_as_json(explain: Explain, page: Callable[..., Path]) -> None:
    done = explain("--vmcb", page(with_field(LEGAL, "intercept_misc2", 2)), "--json")
    said = Explanation.model_validate_json(done.stdout)
    assert (done.status, said.outcome, said.findings[0].offset) == (1, "VMEXIT_INVALID", "0x10")
    assert said.findings[0].requirements == ("SVM-15.5.1-C-017", "SVM-15.5.1-C-018")
    mend = said.mends[0]
    assert (mend.field, mend.mask, mend.value, mend.becomes) == ("intercept_misc2", "0x1", "0x1", "0x3")
    assert json.loads(done.stdout)["rax"] == "0x1000"


def test_what_is_not_known_is_named_and_can_be_given(
    explain: Explain, page: Callable[..., Path], tmp_path: Path
) -> None:
    file = page(with_field(with_field(LEGAL, "cr3", 1 << 42), "guest_asid", 9))
    done = explain("--vmcb", file)
    assert done.status == 2
    assert "for want of CPUID Fn8000_0008_EAX" in done.stdout and "for want of CPUID Fn8000_000A_EBX" in done.stdout
    (tmp_path / "cpuid").write_text(RAW)  # 40 bits
    done = explain("--vmcb", file, "--cpuid", tmp_path / "cpuid")
    assert (done.status, "SVM-15.5.1-C-005" in done.stdout) == (1, True)
    assert explain("--vmcb", file, "--cpuid", tmp_path / "cpuid", "--phys-bits", "48").status == 0


def test_cpuid_of_a_model_is_asked_of_the_engine(explain: Explain, page: Callable[..., Path]) -> None:
    file = page(guest(Mode.LONG, nested=True, nested_control=1, g_pat=2))
    done = explain("--vmcb", file, "--cpu", "EPYC", "--engine", "tcg")
    assert (done.status, "SVM-15.25.4-002" in done.stdout) == (1, True)
    done = explain("--vmcb", file, "--cpu", "EPYC,-npt", "--engine", "tcg")
    assert (done.status, "SVM-15.25.3-004" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of --vmcb, --hypervisor and --gdb"),
        (("--vmcb", __file__, "--gdb", ":1"), "give one of"),
        (("--vmcb", __file__), "a VMCB has 4096"),
        (("--vmcb", __file__, "--rax", "0x1_0000_0000_0000_0000"), "--rax"),
        (("--vmcb", __file__, "--rax", "page"), "--rax"),
        (("--gdb", "/nonexistent"), "no gdbstub at /nonexistent"),
        (("--gdb", "localhost:1"), "no gdbstub at localhost:1"),
        (("--hypervisor", "svmconf", "--guest", "nope"), "offers no guest 'nope'"),
    ],
)
def test_mistakes(explain: Explain, arguments: tuple[str, ...], says: str) -> None:
    done = explain(*arguments)
    assert done.status == 2 and says in done.stderr and "Traceback" not in done.stderr


# Hypervisors that are booted

DEFECTS = {
    "bad-rax": r"#GP\(0\) on VMRUN at enter_guest.vmrun\+0x0 \(CPL 0, CS=0x8\): rAX=0x\w+008 is an unaligned address; ",
    "rax-beyond": r"#GP\(0\) on VMRUN .*: rAX=0x1\w{10}000 is an address beyond physical memory; VMRUN .*\(15.5.1\)",
    "no-vmrun-intercept": r"VMEXIT_INVALID on VMRUN .*: INTERCEPT_MISC2 \(VMCB 010h\) is 0x7c7e: the VMRUN intercept",
    "asid-zero": r"VMEXIT_INVALID on VMRUN .*: GUEST_ASID \(VMCB 058h\) is 0x0: it is the host's \(15.5.1\)",
    "illegal-cr0": r"VMEXIT_INVALID on VMRUN .*: CR0 \(VMCB 558h\) is 0x20000010: NW is 1 while CD is 0 \(15.5.1\)",
    "hsave-late": r"undefined: VMRUN .*: the host's VM_HSAVE_PA is 0x0: no page was given",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_seeded_defects(explain: Explain, defect: str) -> None:
    build.image(seeded=True)
    done = explain("--hypervisor", "svmconf", "--defect", defect, "--engine", "tcg", "--cpu", "EPYC")
    assert done.status == 1 and re.match(DEFECTS[defect], done.first), done.stdout
    assert ("smallest change" in done.stdout) is (defect != "hsave-late")


@pytest.mark.parametrize("cpu", ["EPYC", "qemu64"])
def test_our_hypervisor_breaks_no_rule(explain: Explain, cpu: str) -> None:
    done = explain("--hypervisor", "svmconf", "--engine", "tcg", "--cpu", cpu, "--guest", "long64")
    assert done.status == 0 and re.match(r"\d+ VMRUNs, all legal", done.first), done.stdout


@pytest.fixture
def foreign(assemble: Callable[[str], Path]) -> Callable[[str], Path]:
    """A manifest for one of the small images."""

    def write(name: str) -> Path:
        manifest = assemble(name).with_suffix(".toml")
        manifest.write_text(f'name = "{name}"\nimage = "{name}.bin"\nseconds = 2\nmemory = 32\n')
        return manifest

    return write


def test_a_strangers_virtual_rax(explain: Explain, foreign: Callable[[str], Path]) -> None:
    done = explain("--hypervisor", foreign("vmrun_virtual"), "--engine", "tcg", "--cpu", "EPYC")
    assert done.status == 1
    assert re.fullmatch(r"#GP\(0\) on VMRUN at 0x1001\w\w \(CPL 0, CS=0x8\): " + re.escape(VIRTUAL), done.first)


def test_a_stranger_without_the_vmrun_intercept(explain: Explain, foreign: Callable[[str], Path]) -> None:
    done = explain("--hypervisor", foreign("vmrun_intercept"), "--engine", "tcg", "--cpu", "EPYC", "--json")
    said = Explanation.model_validate_json(done.stdout)
    assert (done.status, said.outcome, said.did) == (1, "VMEXIT_INVALID", "VMEXIT_INVALID")
    assert [one.requirements[0] for one in said.findings] == ["SVM-15.5.1-C-017"] and not said.missing


def test_a_stranger_that_never_gets_to_vmrun(explain: Explain, foreign: Callable[[str], Path]) -> None:
    done = explain("--hypervisor", foreign("halts"), "--engine", "tcg", "--cpu", "EPYC")
    assert done.status == 2 and "no VMRUN was executed: the machine" in done.stderr


# What was observed, and what follows


def observed(vmcb: Vmcb, after: Vmcb | None, rax: int = 0x5000) -> Observation:
    """One VMRUN with this VMCB, and what stood there when it came back, if it did."""
    before = {"rax": rax, "rbx": 0, "rcx": 0, "rdx": 0, "rip": 0x10_0000, "rsp": 0x9000, "eflags": 2, "efer": 0x1D00}
    hsave = {**before, "rcx": 0xC001_0117, "rax": 0x2000}
    events = [
        Event(insn=Insn.WRMSR, cpl=0, before=hsave, after={**hsave, "rip": hsave["rip"] + 2}),
        Event(insn=Insn.VMRUN, cpl=0, before=before, vmcb=vmcb.data, vmcb_after=after.data if after else None,
              where="run+0x3"),
    ]  # fmt: skip
    return Observation(
        engine="qemu-0.0",
        engine_version="0.0",
        cpu="EPYC",
        boot=Boot(),
        command=[],
        image_sha256="",
        ended=Ending(how=How.HALTED),
        trace=events,
        host=Registers(values={"cr0": 0x8000_0011, "cr4": 0x20, "cs": 0x10}),
    )


RAN, REFUSED = with_field(LEGAL, "exitcode", 0x81), with_field(LEGAL, "exitcode", (1 << 64) - 1)
BAD = with_field(LEGAL, "guest_asid", 0)
EVERY = Known(EVERYTHING)


def test_an_engine_that_runs_what_it_must_refuse() -> None:
    found = of_observation(observed(BAD, RAN), EVERY)
    assert (
        found.status == 1
        and found.note == "qemu-0.0 (0.0, CPU EPYC) ran the guest all the same: it does not check this"
    )
    assert found.text().startswith("VMEXIT_INVALID on VMRUN at run+0x3 (CPL 0, CS=0x10): GUEST_ASID")


def test_an_engine_that_refuses_what_is_legal() -> None:
    found = of_observation(observed(LEGAL, REFUSED), EVERY)
    assert found.status == 2 and "refused it with VMEXIT_INVALID, and the model knows no reason" in found.text()


def test_a_vmrun_that_never_came_back_and_is_legal() -> None:
    assert of_observation(observed(LEGAL, None), EVERY).status == 0


def test_what_cannot_be_judged_is_no_verdict_unless_the_guest_ran() -> None:
    pae = guest(Mode.PAE)
    assert of_observation(observed(pae, None), EVERY).status == 2
    assert of_observation(observed(pae, with_field(pae, "exitcode", 0x81)), EVERY).status == 0
    refused = of_observation(observed(pae, with_field(pae, "exitcode", (1 << 64) - 1)), EVERY)
    assert refused.status == 2 and "for want of the four PDPEs" in refused.text()


# A machine that runs


@contextmanager
def running(image: Path, folder: Path, *arguments: str) -> Iterator[Path]:
    """A QEMU that was started by somebody else, with a gdbstub on a socket."""
    stub = folder / "gdb"
    command = [
        *(binary(), "-machine", "pc", "-accel", "tcg", "-cpu", "EPYC", "-m", "32M", "-nodefaults", "-no-reboot"),
        *("-vga", "none", "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
        *("-kernel", str(image), "-gdb", f"unix:{stub},server=on,wait=off", *arguments),
    ]
    child = Child(command, folder / "stderr.log")
    try:
        deadline = Deadline.after(20)
        while not stub.exists():
            assert not child.wait(Deadline.after(0.05)), child.said
            deadline.check("QEMU's gdbstub")
        yield stub
        assert "-S" in arguments or child.status is None, "it did not survive being looked at"
    finally:
        child.kill()


def test_attached_to_a_machine_that_runs(explain: Explain, assemble: Callable[[str], Path], tmp_path: Path) -> None:
    with running(assemble("vmrun_virtual"), tmp_path) as stub:
        Child(["sleep", "0.5"], tmp_path / "sleep.log").wait(Deadline.after(5))  # until it executes VMRUNs
        for _ in range(2):  # it goes on afterwards, so it can be looked at again
            done = explain("--gdb", stub, "--seconds", "20")
            assert done.status == 1, done.stderr
            assert re.fullmatch(r"#GP\(0\) on VMRUN at 0x1001\w\w \(CPL 0, CS=0x8\): " + re.escape(VIRTUAL), done.first)
            assert "smallest change   the address of the page: rAX = 0x1a5000" in done.stdout
            assert "not judged" not in done.stdout  # the VMCB was found by the host's page tables


def test_attached_before_the_image_is_loaded(explain: Explain, assemble: Callable[[str], Path], tmp_path: Path) -> None:
    image = assemble("vmrun_intercept")
    with running(image, tmp_path, "-S") as stub:
        done = explain("--gdb", stub, "--image", image)
    assert done.status == 1
    assert re.match(r"VMEXIT_INVALID on VMRUN at 0x1000\w\w \(CPL 0, CS=0x8\): INTERCEPT_MISC2", done.first)


def test_attached_to_a_machine_without_vmrun(explain: Explain, assemble: Callable[[str], Path], tmp_path: Path) -> None:
    with running(assemble("hangs"), tmp_path) as stub:
        done = explain("--gdb", stub, "--seconds", "1")
    assert done.status == 2 and "no VMRUN was executed in time" in done.stderr
