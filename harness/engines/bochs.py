"""Bochs: knows its processor models, starts machines without a BIOS, watches through its debugger."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from harness import paths
from harness.boot import Boot, Fault, Insn
from harness.deadline import Deadline
from harness.engines import store
from harness.engines.base import Console, CpuModel
from harness.engines.collect import carry_out, observe, shows
from harness.engines.remembered import remembered
from harness.engines.store.process import run
from harness.errors import EngineError, SvmconfError
from harness.guests.files import modules
from harness.guests.linux import Linux
from harness.hypervisors.manifest import Manifest
from harness.lab.payload import MEMORY, Left, Payload
from harness.lab.programs import program
from harness.lab.runner import run as run_program
from harness.lab.steps import code
from harness.machine.base import Point
from harness.machine.bochs import processors
from harness.machine.bochs.config import FOR_LINUX, INSTRUCTIONS_A_SECOND
from harness.machine.bochs.machine import BochsMachine, Setup
from harness.machine.bochs.processors import Processor
from harness.machine.bochs.ram_image import split
from harness.machine.bochs.rom import Preset, rom
from harness.machine.bzimage import bare
from harness.machine.handoff import Handoff, multiboot1
from harness.machine.image import Image
from harness.msr import Msr, VmCr
from harness.observation import Alone, Observation

_PROBE = paths.IMAGES / "probe.elf"
_PROCESSORS = TypeAdapter(dict[str, Processor])
_YES_OR_NO = TypeAdapter(bool)
_NEWER = (3, 0)
"""Since then it has VM_CR, can take features from a model, and has room for a ROM of 4 MiB rather than 2."""

_SLOWER = 6
"""Times the seconds that a Linux has: an interpreter beside a translator."""

_NO_SVM = ",-svm"
_VM_CR_BITS = int(VmCr.DPD | VmCr.R_INIT | VmCr.DIS_A20M | VmCr.LOCK | VmCr.SVMDIS)


class Bochs:
    """A Bochs of the engine store. Raises :class:`harness.errors.EngineError` when it is not there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.family = "bochs"
        self._runnable = store.runnable(name)
        self.version = self._runnable.version
        numbers = re.match(r"(\d+)\.(\d+)", self.version)
        if numbers is None:
            raise EngineError(f"{name} has no version that we know: {self.version!r}")
        self._release = int(numbers[1]), int(numbers[2])

    @property
    def description(self) -> str:
        """One line: what it is."""
        return f"Bochs {self.version}"

    @property
    def default_cpus(self) -> tuple[str, ...]:
        """One model with nested paging, and the one with SVM but without."""
        return ("ryzen", "turion64_tyler")

    @property
    def foreign_cpus(self) -> tuple[str, ...]:
        """Two of Intel's."""
        return ("core2_penryn_t9600", "corei7_haswell_4770")

    @property
    def fullest_cpu(self) -> str:
        """The youngest."""
        return "ryzen"

    def lacks(self, boot: Boot) -> str:
        """It can watch a page, and inject any fault. It has one processor, and some builds cannot divide."""
        if boot.all_processors > 1:
            return "has one processor only"
        if boot.linux and not self._divides:
            return "cannot run a Linux, alone or under a hypervisor: its 64-bit IDIV is wrong (docs/linux.md)"
        return ""

    def dear(self, boot: Boot) -> str:
        """A Linux."""
        return "takes minutes to boot a Linux" if boot.linux else ""

    def close(self) -> None:
        """Nothing runs between boots."""

    # Processor models

    def cpu_models(self) -> dict[str, CpuModel]:
        """Its 64-bit models by name; asked of the engine once and remembered."""
        return {name: _model(name, it) for name, it in self._processors.items() if not name.endswith(_NO_SVM)}

    def cpu(self, spec: str) -> CpuModel:
        """The model behind ``ryzen`` or ``ryzen,-svm``; raise :class:`SvmconfError` when it cannot be had.

        SVM can be taken from most models since Bochs 3.0; nothing else can be taken or added.
        """
        name, *changes = spec.split(",")
        if name not in self._processors:
            raise SvmconfError(f"{self.name} has no CPU model {name!r}", f"it has: {', '.join(self.cpu_models())}")
        model = _model(spec, self._processors[name])
        for change in changes:
            feature, wanted = change[1:], change[0] == "+"
            if f",{change}" == _NO_SVM and name + _NO_SVM in self._processors:
                model = _model(spec, self._processors[name + _NO_SVM])
            elif feature not in ("svm", "npt") or getattr(model, feature) != wanted:
                raise SvmconfError(
                    f"{self.name} cannot make {change!r} of {name!r}",
                    "without SVM by nature: athlon64_clawhammer; without nested paging: turion64_tyler",
                )
        return model

    @cached_property
    def _processors(self) -> dict[str, Processor]:
        return remembered(Path(self._runnable.argv[-1]), "processors of Bochs 2", _PROCESSORS, self._ask_processors)

    def _ask_processors(self) -> dict[str, Processor]:
        argv, env = self._runnable.argv, self._runnable.env
        listed = processors.names(run([*argv, "--help", "cpu"], Deadline.after(30), env).said)
        with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:

            def ask(name: str) -> Processor | None:
                return processors.ask(self.setup(name, 32), Path(folder))

            asked = {name: ask(name) for name in sorted(listed)}
            if self._release >= _NEWER:
                with_svm = [name for name, it in asked.items() if it and it.svm]
                changed = {name + _NO_SVM: ask(name + _NO_SVM) for name in with_svm}
                # The CPUID of some models says SVM whatever is taken from them.
                asked |= {name: it for name, it in changed.items() if it and not it.svm}
        if not any(asked.values()):
            raise EngineError(
                f"{argv[-1]} starts with none of its processor models",
                "Bochs needs its own debugger (--enable-debugger) and the display library `term`",
            )
        return {name: it for name, it in asked.items() if it and it.long_mode}

    @cached_property
    def _divides(self) -> bool:
        """Whether IDIV of 64 bits is right: compiled by GCC 15, ``long_idiv()`` divides what was on its stack before.

        https://github.com/bochs-emu/Bochs/issues/668; Debian's 3.1 is such a build.
        """
        return remembered(Path(self._runnable.argv[-1]), "IDIV of Bochs", _YES_OR_NO, self._ask_whether_it_divides)

    def _ask_whether_it_divides(self) -> bool:
        dividend, divisor = 1488, 1152
        asks = program(code("cqo\nidiv rdi", rax=dividend, rdi=divisor))
        with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
            seen = run_program(self, asks, self.default_cpus[0], Path(folder))
        registers = [(step.registers["rax"], step.registers["rdx"]) for step in seen.steps]
        return registers == [divmod(dividend, divisor)]

    # Booting

    def observe(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
        """Boot a hypervisor and bring back all that was seen."""
        image = Image.load(manifest.image)
        model = self.cpu(cpu)
        lasting = tuple(fault for fault in boot.faults if fault.lasts(boot.faults))
        presets = [preset for fault in lasting if (preset := self._preset(fault, model))]
        real = tuple(fault for fault in lasting if self._preset(fault, model) or self._agrees(fault, model))
        lies = boot.model_copy(update={"faults": tuple(fault for fault in boot.faults if fault not in real)})
        memory, seconds = manifest.memory_for(boot), manifest.seconds_for(boot) * (_SLOWER if boot.linux else 1)
        handoff = multiboot1(image, manifest.command_line(boot), memory, modules(boot.linux))
        speed = FOR_LINUX if boot.linux else INSTRUCTIONS_A_SECOND
        with self._machine(handoff, cpu, memory, seconds, folder, presets, speed) as machine:
            seen = observe(machine, image, manifest, lies, Point.HARDWARE)
        told = {"engine": self.name, "engine_version": self.version, "cpu": cpu, "boot": boot, "arranged": real}
        return seen.model_copy(update=told)

    def alone(self, linux: Linux, cpu: str, seconds: float, folder: Path, until: str = "") -> Alone:
        """Boot it without a hypervisor."""
        handoff = bare(modules(linux), linux.memory)
        with self._machine(handoff, cpu, linux.memory, _SLOWER * seconds, folder, speed=FOR_LINUX) as machine:
            ended = machine.run(lambda stop: machine.debugger.resume(), over=shows(machine, until))
            return Alone(ended=ended, console=machine.console(), seconds=time.monotonic() - machine.ready)

    @property
    def room(self) -> int:
        """What its ROM has room for besides the probe."""
        return (3 if self._release >= _NEWER else 1) << 20

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """Boot the probe with a payload."""
        probe, copy = Image.load(_PROBE), folder / "program.elf"
        try:
            handoff = multiboot1(payload.image(probe, copy), "", MEMORY)
            with self._machine(handoff, cpu, MEMORY, payload.seconds, folder) as machine:
                left = carry_out(machine, probe, payload)
        finally:
            copy.unlink(missing_ok=True)
        return left.model_copy(update={"engine": self.name, "engine_version": self.version, "cpu": cpu})

    def console(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Console:
        """It has none."""
        raise SvmconfError(
            f"{self.name} has no live console: its debugger has the terminal",
            "svmconf run keeps console and engine.log; for a console take a QEMU",
        )

    def _preset(self, fault: Fault, model: CpuModel) -> Preset | None:
        """What our firmware must write so that RDMSR of VM_CR returns that by itself; ``None`` when it cannot be so."""
        on, off = (int(bits) for bits in fault.force.get("rax", (0, 0)))
        of_vm_cr = fault.insn is Insn.RDMSR and fault.select == Msr.VM_CR and set(fault.force) == {"rax"}
        if self._release < _NEWER or not model.svm or not of_vm_cr:
            return None
        return None if on & (off | ~_VM_CR_BITS) else Preset(Msr.VM_CR, on)

    def _agrees(self, fault: Fault, model: CpuModel) -> bool:
        """Whether the processor does by itself what the fault is about."""
        return model.name in self._processors and self._processors[model.name].agrees(fault)

    @contextmanager
    def _machine(
        self,
        handoff: Handoff,
        cpu: str,
        memory: int,
        seconds: float,
        folder: Path,
        presets: Sequence[Preset] = (),
        speed: int = INSTRUCTIONS_A_SECOND,
    ) -> Iterator[BochsMachine]:
        small, ram = split(handoff)
        content = rom(small, presets, (4 if self._release >= _NEWER else 2) << 20, ram)
        setup = replace(self.setup(cpu, memory, content), ram=ram, speed=speed)
        with BochsMachine(setup, folder, Deadline.after(seconds)) as machine:
            (folder / "command.json").write_text(json.dumps(machine.command, indent=1))
            yield machine

    def setup(self, cpu: str, memory: int, content: bytes = b"") -> Setup:
        """A machine of ``memory`` MiB with that model and that ROM."""
        it = self._runnable
        name, *changes = cpu.split(",")
        without = tuple(change[1:] for change in changes if f",{change}" == _NO_SVM)
        return Setup((*it.argv, *it.arguments), it.env, self._release, name, memory, content, without)


def _model(name: str, processor: Processor) -> CpuModel:
    return CpuModel(
        name=name, vendor=processor.vendor, long_mode=processor.long_mode, svm=processor.svm, npt=processor.npt
    )
