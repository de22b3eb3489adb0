"""KVM inside TCG: a real nested KVM on any machine. A Linux in QEMU runs our images through its own KVM.

L0 is a QEMU with TCG, L1 a Debian kernel with ``kvm_amd nested=1`` and our monitor (``hypervisor/vmm``) as its only
program, L2 the image, L3 the image's guest. What L1 does not intercept is answered by L0; who answered what is in every
observation.
"""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from harness import build, paths
from harness.boot import Boot, Fault, Insn
from harness.engines import store
from harness.engines.base import Console, CpuModel
from harness.engines.collect import carry_out, observe, shows
from harness.engines.store.recipes import recipes
from harness.errors import SvmconfError
from harness.guests.files import modules
from harness.guests.linux import Linux
from harness.hypervisors.manifest import Manifest
from harness.lab.payload import MEMORY, RESULTS, STEP_CODE, Left, Payload
from harness.machine.base import Point
from harness.machine.bzimage import bare
from harness.machine.handoff import multiboot1
from harness.machine.image import Image
from harness.machine.l1 import attribution
from harness.machine.l1.host import Host
from harness.machine.l1.linux import linux
from harness.machine.l1.machine import L1Machine
from harness.machine.l1.snapshot import System
from harness.machine.l1.wire import CpuidChange, Job
from harness.msr import Msr, VmCr
from harness.observation import Alone, Observation

_PROBE = paths.IMAGES / "probe.elf"
_SLOWER = 3
"""Times the seconds that a hypervisor has: each of its VMRUNs is some ten exits to KVM, each of which TCG emulates."""
_RESULTS_WANTED = 8 << 10
"""Bytes of a payload's results that L1 sends without being asked: all of most programs."""

_L0_MODELS = {"EPYC": "EPYC,+svm,+npt", "EPYC-Genoa": "EPYC-Genoa", "max": "max", "Intel": "EPYC,+svm,+npt"}
"""L0's processor for each of ours, which is what KVM makes of it; ``max`` has most of what KVM can leave to it."""

_MODEL, _FOREIGN = "EPYC", "Intel"
_L1_MEMORY, _L1_OWN = 256, 128
"""MiB that L1 has, and what it needs beside its machine's."""

_ALL = 0xFFFF_FFFF
_NO_SVM = (
    CpuidChange(0x8000_0001, "ecx", keep=_ALL & ~(1 << 2)),
    *(CpuidChange(0x8000_000A, register, keep=0) for register in ("eax", "ebx", "ecx", "edx")),
)
_NO_NPT = (CpuidChange(0x8000_000A, "edx", keep=_ALL & ~(1 << 0)),)
_INTEL = tuple(
    CpuidChange(leaf, register, keep=0, set=int.from_bytes(name, "little"))
    for leaf, names in ((0, (b"Genu", b"ineI", b"ntel")), (0x8000_0000, (b"", b"", b"")))
    for register, name in zip(("ebx", "edx", "ecx"), names, strict=True)
)
_CPUID_REGISTERS = {"rax": "eax", "rbx": "ebx", "rcx": "ecx", "rdx": "edx"}
_VM_CR_BITS = int(VmCr.DPD | VmCr.R_INIT | VmCr.DIS_A20M | VmCr.LOCK | VmCr.SVMDIS)


class KvmInTcg:
    """A kernel's KVM, by the engine's name in the store (``kvm-6.12``); ``l0`` names another QEMU than the usual one.

    Raises :class:`harness.errors.EngineError` when a part of it is not there.
    """

    def __init__(self, name: str, l0: str = "") -> None:
        needs = {part.partition("-")[0]: part for part in recipes().of(name).needs}
        self.name = name
        self.family = "kvm"
        self._kernel = store.tree(needs["linux"])
        self._qemu = store.runnable(l0 or needs["qemu"])
        self._hosts: dict[tuple[str, int], Host] = {}
        self.version = (
            f"Linux {self._kernel.version} (kvm_amd) in QEMU {self._qemu.version} TCG, svmconf-vmm {_vmm_version()}"
        )

    @property
    def description(self) -> str:
        """One line: what it is."""
        return f"nested KVM of Linux {self._kernel.version} inside QEMU {self._qemu.version}, TCG"

    @property
    def default_cpus(self) -> tuple[str, ...]:
        """With nested paging, and without."""
        return (_MODEL, f"{_MODEL},-npt")

    @property
    def foreign_cpus(self) -> tuple[str, ...]:
        """The same with Intel's name in CPUID, and without SVM."""
        return (_FOREIGN,)

    @property
    def fullest_cpu(self) -> str:
        """What KVM makes of all that TCG can do."""
        return "max"

    def lacks(self, boot: Boot) -> str:
        """It cannot watch a page, nor change memory. It has one processor."""
        if boot.all_processors > 1:
            return "has one processor only"
        if boot.guard_hsave:
            return "cannot watch every access to a page: QEMU's TCG can (--engine qemu-10.0)"
        if boot.spoils:
            return "cannot change memory while it is watched: QEMU's TCG can (--engine qemu-10.0)"
        return ""

    def dear(self, boot: Boot) -> str:
        """A Linux."""
        return "takes minutes to boot a Linux" if boot.linux else ""

    def close(self) -> None:
        """End the Linux that runs between boots."""
        for host in self._hosts.values():
            host.close()

    # Processor models

    def cpu_models(self) -> dict[str, CpuModel]:
        """What KVM makes of L0's processors, by changes of CPUID."""
        names = [name + change for name in _L0_MODELS for change in ("", ",-npt") if name != _FOREIGN or not change]
        return {name: self.cpu(name) for name in sorted(names)}

    def cpu(self, spec: str) -> CpuModel:
        """The model behind ``EPYC``, ``EPYC,-npt`` or ``EPYC,-svm``; raise :class:`SvmconfError` for what is none."""
        name, *changes = spec.split(",")
        if name not in _L0_MODELS:
            raise SvmconfError(f"{self.name} has no CPU model {name!r}", f"it has: {', '.join(self.cpu_models())}")
        amd = name != _FOREIGN
        has = {"svm": amd, "npt": amd}
        for change in changes:
            feature, wanted = change[1:], change[0] == "+"
            if feature not in has or (wanted and not amd):
                raise SvmconfError(f"{self.name} cannot make {change!r} of {name!r}", f"{_MODEL} can lose svm and npt")
            has[feature] = wanted
        svm, npt = has["svm"], has["svm"] and has["npt"]
        if amd:
            name += "" if npt else ",-npt" if svm else ",-svm"
        vendor = "AuthenticAMD" if amd else "GenuineIntel"
        return CpuModel(name=name, vendor=vendor, long_mode=True, svm=svm, npt=npt)

    # Booting

    def observe(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
        """Boot a hypervisor and bring back all that was seen."""
        image = Image.load(manifest.image)
        model = self.cpu(cpu)
        memory = manifest.memory_for(boot)
        cpuid, msrs, real = arrange(boot.faults)
        lies = boot.model_copy(update={"faults": tuple(fault for fault in boot.faults if fault not in real)})
        job = Job(
            memory=memory,
            handoff=multiboot1(image, manifest.command_line(boot), memory, modules(boot.linux)),
            debug=True,
            serial=True,
            trace=True,
            seconds=_SLOWER * manifest.seconds_for(boot),
            cpuid=(*_changes(model), *cpuid),
            msrs=msrs,
        )

        def watch(machine: L1Machine) -> Observation:
            _note(machine, folder)
            return observe(machine, image, manifest, lies, Point.SOFTWARE)

        seen, machine = self._host(cpu, memory).run(job, watch)
        trace = attribution.of_events(seen.trace, machine.trace)
        layers = self._layers([event.answered_by for event in trace])
        return seen.model_copy(
            update=self._who(cpu) | {"boot": boot, "arranged": real, "trace": trace, "layers": layers}
        )

    def alone(self, linux: Linux, cpu: str, seconds: float, folder: Path, until: str = "") -> Alone:
        """Boot it as L2, without a hypervisor of its own."""
        job = Job(
            memory=linux.memory,
            handoff=bare(modules(linux), linux.memory),
            debug=bool(until),  # only such a machine can be stopped
            serial=True,
            seconds=_SLOWER * seconds,
            cpuid=_changes(self.cpu(cpu)),
        )

        def watch(machine: L1Machine) -> Alone:
            ended = machine.run(lambda stop: None, over=shows(machine, until))
            return Alone(ended=ended, console=machine.console(), seconds=time.monotonic() - machine.ready)

        return self._host(cpu, linux.memory).run(job, watch)[0]

    @property
    def room(self) -> int:
        """Each byte goes through L1."""
        return 1 << 20

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """Boot the probe with a payload."""
        probe, copy = Image.load(_PROBE), folder / "program.elf"
        results, _, _ = probe.section(RESULTS)
        job = Job(
            memory=MEMORY,
            handoff=multiboot1(payload.image(probe, copy), "", MEMORY),
            debug=bool(payload.faults),
            trace=len(payload.programs) == 1,
            seconds=payload.seconds,
            cpuid=_changes(self.cpu(cpu)),
            wanted=((results, _RESULTS_WANTED),),
        )

        def watch(machine: L1Machine) -> Left:
            _note(machine, folder)
            return carry_out(machine, probe, payload)

        try:
            left, machine = self._host(cpu, MEMORY).run(job, watch)
        finally:
            copy.unlink(missing_ok=True)
        steps = sum(map(len, left.programs())) if job.trace else 0
        answers = attribution.of_steps(steps, machine.trace, probe.symbol(STEP_CODE))
        return left.model_copy(update=self._who(cpu) | {"answers": answers, "layers": self._layers(answers)})

    def console(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Console:
        """It has none."""
        raise SvmconfError(f"{self.name} has no live console", "svmconf shell --engine qemu-10.0")

    def system(self, cpu: str = _MODEL, memory: int = MEMORY) -> System:
        """L1, for machines of that processor and with so many MiB."""
        model, size = self._l0(cpu, memory)
        return linux(self._kernel, self._qemu, model, build.vmm(), memory=size)

    def _host(self, cpu: str = _MODEL, memory: int = MEMORY) -> Host:
        """The L1 for such machines; it runs from its first machine on."""
        what = self._l0(cpu, memory)
        if what not in self._hosts:
            self._hosts[what] = Host(self.system(cpu, memory))
        return self._hosts[what]

    @staticmethod
    def _l0(cpu: str, memory: int) -> tuple[str, int]:
        return _L0_MODELS[cpu.partition(",")[0]], max(_L1_MEMORY, memory + _L1_OWN)

    def _who(self, cpu: str) -> dict[str, object]:
        return {"engine": self.name, "engine_version": self.version, "cpu": cpu}

    def _layers(self, answers: Sequence[str]) -> list[str]:
        """From the top."""
        return [
            f"L1 Linux {self._kernel.version}, kvm_amd nested: {attribution.summary(answers)}",
            f"L0 QEMU {self._qemu.version}, TCG",
        ]


def _vmm_version() -> str:
    workspace = tomllib.loads((paths.HYPERVISOR / "Cargo.toml").read_text())["workspace"]
    return str(workspace["package"]["version"])


def arrange(faults: Sequence[Fault]) -> tuple[list[CpuidChange], dict[int, int], tuple[Fault, ...]]:
    """What of these faults a machine of KVM's can really be: changes of CPUID, MSRs as firmware leaves them.

    The third part are the faults that need no lie any longer.
    """
    cpuid: list[CpuidChange] = []
    msrs: dict[int, int] = {}
    real: list[Fault] = []
    for fault in faults:
        if not fault.lasts(tuple(faults)) or fault.select is None:
            continue
        if fault.insn is Insn.CPUID and set(fault.force) <= set(_CPUID_REGISTERS):
            cpuid += [
                CpuidChange(fault.select, _CPUID_REGISTERS[name], keep=_ALL & ~off, set=on & _ALL)
                for name, (on, off) in fault.force.items()
            ]
            real.append(fault)
        elif fault.insn is Insn.RDMSR and fault.select == Msr.VM_CR and set(fault.force) == {"rax"}:
            on, _ = fault.force["rax"]
            if not on & ~_VM_CR_BITS:
                msrs[Msr.VM_CR] = on  # it is 0 otherwise
                real.append(fault)
    return cpuid, msrs, tuple(real)


def _changes(model: CpuModel) -> tuple[CpuidChange, ...]:
    vendor = () if model.amd else _INTEL
    return (*vendor, *(() if model.svm else _NO_SVM), *(() if model.npt or not model.svm else _NO_NPT))


def _note(machine: L1Machine, folder: Path) -> None:
    (folder / "command.json").write_text(json.dumps(machine.command, indent=1))
