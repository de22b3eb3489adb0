"""A Linux guest as data: its command line, its files, what it says, and what a run makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import boot as boots
from harness.engines import store
from harness.errors import SvmconfError
from harness.guests import files, programs
from harness.guests.linux import LINUX, Linux
from harness.guests.report import Report
from harness.guests.workload import INIT
from harness.hypervisors.manifest import Manifest
from harness.machine.constants import Constants
from harness.machine.image import Image
from harness.run import STRESS, Run

CONSOLE = """\
[    0.000000] a line of the kernel's\r
@linux up 2.50\r
@linux flags hypervisor=1 svm=0\r
@linux log begin\r
<6>[    0.100000] all is well\r
<4>[    0.200000] lost 17 of 0xffff8880 things\r
<12>[    0.300000] init: a warning of a program's\r
@linux log end\r
@linux done 9.75\r
"""


def test_its_words_and_its_log() -> None:
    report = Report.of(CONSOLE)
    assert report.said == {"up": "2.50", "flags": "hypervisor=1 svm=0", "done": "9.75"} and report.done
    assert report.values("flags") == {"hypervisor": 1, "svm": 0} and report.values("load") == {}
    assert report.log[0] == (6, "all is well")
    assert report.warnings() == {
        "lost N of N things": "lost 17 of 0xffff8880 things",
        "init: a warning of a program's": "init: a warning of a program's",
    }


@pytest.mark.parametrize("cut", ["@linux log begin", "@linux log end"])
def test_a_log_that_is_cut_off_is_none(cut: str) -> None:
    assert Report.of(CONSOLE.replace(cut, "")).log == ()


def test_command_line() -> None:
    assert Linux(stress=60).command_line.endswith("quiet -- work 60")
    assert Linux(quiet=False, shell=True, words=("noapic",)).command_line.endswith("rdinit=/init noapic -- shell")
    assert Linux(stress=60).seconds > Linux(stress=2).seconds > 60


def test_a_run_says_how_long_the_load_lasts(tmp_path: Path) -> None:
    asks, fixed = (boots.Boot(guest=LINUX, linux=Linux(stress=stress)) for stress in (None, 5.0))
    run = Run("tcg", "", "svmconf", "", tmp_path, stress=60.0)
    assert run.choose(asks).linux == Linux(stress=60.0) and run.choose(fixed) == fixed
    assert Run("tcg", "", "svmconf", "", tmp_path).choose(asks).linux == Linux(stress=STRESS)
    assert run.choose(boots.Boot()) == boots.Boot()


def test_what_a_manifest_offers() -> None:
    foreign = Manifest(name="mine", image=Path("mine.elf"), modules=True, guest_word="", processors=2)
    boot = boots.Boot(guest=LINUX, linux=Linux(processors=2))
    assert not foreign.refuses(boot) and foreign.command_line(boot) == ""
    assert foreign.memory_for(boot) == 512 and foreign.seconds_for(boot) > foreign.seconds
    assert "2 processor" in foreign.refuses(boots.Boot(guest=LINUX, linux=Linux(processors=3)))
    assert "no guest 'linux'" in foreign.model_copy(update={"modules": False}).refuses(boot)


def test_several_guests_are_offered_where_they_can_be() -> None:
    one = Manifest(name="mine", image=Path("mine.elf"), guests=("a", "b"))
    several = one.model_copy(update={"several": True})
    assert not one.refuses(boots.Boot(guest="b")) and one.refuses(boots.Boot(guest="a,b"))
    assert not several.refuses(boots.Boot(guest="a,b,a"))
    assert "no guest 'a,c'" in several.refuses(boots.Boot(guest="a,c"))
    assert several.refuses(boots.Boot(guest="a,")) and several.refuses(boots.Boot(guest=","))


def test_what_is_not_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def tree(name: str) -> store.Tree:
        raise SvmconfError(f"engine {name} is not in the cache")

    monkeypatch.setattr(store, "tree", tree)
    assert files.missing(Linux()) == "engine linux-6.1 is not in the cache: svmconf engines fetch linux-6.1 busybox"


def test_the_script_is_one_for_a_shell(tmp_path: Path) -> None:
    script = tmp_path / "init"
    script.write_text(INIT)
    assert subprocess.run(["sh", "-n", str(script)], capture_output=True).stderr == b""


@pytest.mark.parametrize(("program", "status"), [(programs.canary, {0}), (programs.svm_instruction, {-4, -11})])
def test_programs_run(program: Callable[[], bytes], status: set[int], tmp_path: Path) -> None:
    """On whatever processor this is: VMRUN ends a program by SIGILL, or by SIGSEGV where the host uses SVM itself."""
    file = tmp_path / "program"
    file.write_bytes(program())
    file.chmod(0o755)
    assert subprocess.run([str(file)]).returncode in status


def test_the_canary_sees_a_lost_register(tmp_path: Path) -> None:
    file = tmp_path / "program"
    loses_r12 = bytes.fromhex("4531e4 909090 90")  # xor r12d, r12d for mov eax, imm32; cpuid
    file.write_bytes(programs.canary().replace(bytes.fromhex("b800000040 0fa2"), loses_r12))
    file.chmod(0o755)
    assert subprocess.run([str(file)]).returncode == 1


class _Ram:
    size = 1 << 22
    live = False

    def __init__(self) -> None:
        self.bytes = bytearray(self.size)

    def read(self, address: int, size: int) -> bytes:
        if address + size > self.size:
            raise ValueError(address)
        return bytes(self.bytes[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        raise AssertionError("nobody writes here")


def test_what_must_stay_as_it_is(ours: Image) -> None:
    """Code and read-only data by the image's segments; a VMCB full of zeros has its maps at address 0."""
    ram = _Ram()
    constants = Constants(ours, ram)
    constants.first(bytes(0x1000))
    at, _ = ours.constant[0]
    assert {one.name for one in constants.last()} == {"code and constants", "IOPM", "MSRPM"}
    assert all(one.before == one.after for one in constants.last())
    ram.bytes[at] ^= 1
    assert [one.address for one in constants.last() if one.before != one.after] == [at]
    assert Constants(ours, ram).last() == []


@pytest.fixture
def ours() -> Image:
    from harness import build

    return Image.load(build.image())
