"""A hypervisor that is not ours: no records, only words on its console; traced and lied to all the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.boot import Boot, Fault, Insn
from harness.engines.qemu import Qemu
from harness.hypervisors.manifest import Manifest, load
from harness.machine.ending import How
from harness.msr import Msr, VmCr
from harness.observation import Observation

Booting = Callable[..., Observation]


@pytest.fixture
def manifest(assemble: Callable[[str], Path]) -> Manifest:
    image = assemble("foreign")
    copy = image.with_name("foreign.toml")
    shutil.copy(Path(__file__).parent / "images" / "foreign.toml", copy)
    return load(str(copy))


def boot(qemu: Qemu, manifest: Manifest, folder: Path, cpu: str = "EPYC", *faults: Fault) -> Observation:
    return qemu.observe(manifest, Boot(faults=faults, guard_hsave=True), cpu, folder)


def test_its_outcome_is_read_off_its_console(qemu: Qemu, manifest: Manifest, tmp_path: Path) -> None:
    seen = boot(qemu, manifest, tmp_path)
    assert seen.outcome == "ready"
    assert [e.insn for e in seen.trace] == [Insn.CPUID, Insn.RDMSR, Insn.RDMSR, Insn.WRMSR, Insn.WRMSR]
    assert seen.hsave == 0x200000 and seen.guarded == (0x200000, 0x1000)
    assert seen.final is not None and seen.final.svme
    assert not seen.records


def test_its_refusal_is_named(qemu: Qemu, manifest: Manifest, tmp_path: Path) -> None:
    seen = boot(qemu, manifest, tmp_path, "EPYC,-svm")
    assert (seen.ended.how, seen.outcome) == (How.REFUSED, "refused.no-svm")
    assert seen.final is not None and not seen.final.svme


def test_it_believes_a_lie_about_vm_cr(qemu: Qemu, manifest: Manifest, tmp_path: Path) -> None:
    lie = Fault(insn=Insn.RDMSR, select=Msr.VM_CR, force={"rax": (VmCr.SVMDIS, 0)})
    seen = boot(qemu, manifest, tmp_path, "EPYC", lie)
    assert seen.outcome == "refused.svm-disabled-by-firmware"
    assert [e.tampered for e in seen.trace] == [False, True]


def test_a_lie_about_one_leaf_leaves_others_alone(qemu: Qemu, manifest: Manifest, tmp_path: Path) -> None:
    lie = Fault(insn=Insn.CPUID, select=0x8000_0008, force={"rcx": (0, 4)})
    assert boot(qemu, manifest, tmp_path, "EPYC", lie).outcome == "ready"


def test_an_engine_that_skips_an_instruction(qemu: Qemu, manifest: Manifest, tmp_path: Path) -> None:
    lie = Fault(insn=Insn.WRMSR, select=Msr.EFER, skip=True)
    seen = boot(qemu, manifest, tmp_path, "EPYC", lie)
    assert seen.final is not None and not seen.final.svme
    assert seen.outcome == "ready"  # it never read back what it wrote


def test_endless_stops_do_not_outlast_the_deadline(qemu: Qemu, assemble: Callable[[str], Path], tmp_path: Path) -> None:
    lie = Fault(insn=Insn.RDMSR, select=Msr.VM_CR, force={"rax": (VmCr.SVMDIS, 0)})
    endless = Manifest(name="asks", image=assemble("asks"), seconds=1.0)
    seen = boot(qemu, endless, tmp_path, "EPYC", lie)
    assert seen.ended.how is How.HUNG and seen.seconds < 5
