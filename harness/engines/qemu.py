"""QEMU, with TCG or KVM: finds the binary, knows its CPU models, boots images in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from harness import paths
from harness.boot import Boot
from harness.deadline import Deadline
from harness.engines.base import Console, CpuModel
from harness.engines.collect import carry_out, observe, shows
from harness.engines.remembered import remembered
from harness.errors import EngineError, SvmconfError, ToolMissing
from harness.guests.files import Files
from harness.guests.linux import Linux
from harness.hypervisors.manifest import Manifest
from harness.lab import wire
from harness.lab.payload import MEMORY, Left, Payload
from harness.machine.base import Point
from harness.machine.image import Image
from harness.machine.plugin import Plugin
from harness.machine.qemu import QemuMachine
from harness.observation import Alone, Observation

PROBE_IMAGE = paths.IMAGES / "probe.elf"
_MODELS = TypeAdapter(dict[str, CpuModel])
_VERSION = re.compile(r"version (\d+\.\d+)(\.\d+)?(?: \((.+)\))?")


class Qemu:
    """A QEMU with one accelerator (``tcg`` or ``kvm``).

    ``argv`` starts it, ``arguments`` it always gets, ``env`` is added to its environment. Raises
    :class:`harness.errors.EngineError` when it does not run or is no QEMU.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        accelerator: str = "tcg",
        why: str = "",
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.family = "qemu" if accelerator == "tcg" else f"qemu+{accelerator}"
        self.argv = tuple(argv)
        self.accelerator = accelerator
        self.why = why
        self._arguments = tuple(arguments)
        self._env = dict(env or {})
        self.version = self._read_version()

    @classmethod
    def of_system(cls, binary: str, accelerator: str = "tcg", why: str = "") -> Qemu:
        """The one that this machine has on its PATH; raises :class:`harness.errors.ToolMissing` without."""
        found = shutil.which(binary)
        if found is None:
            raise ToolMissing(f"no QEMU: {binary} is not on this machine", "apt-get install qemu-system-x86")
        suffix = "" if accelerator == "tcg" else f"+{accelerator}"
        return cls(f"qemu-system{suffix}", (found,), accelerator, why)

    def _read_version(self) -> str:
        try:
            said = subprocess.run(
                [*self.argv, "--version"], capture_output=True, text=True, timeout=20, check=True, env=self._environment
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise EngineError(f"{self.argv[-1]} --version fails: {error}") from error
        match = _VERSION.search(said)
        if match is None:
            raise EngineError(f"{self.argv[-1]} is no QEMU: it says {said[:60]!r}")
        return f"{match[1]}{match[2] or ''}" + (f" ({match[3]})" if match[3] else "")

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._env}

    @property
    def _breakpoints(self) -> Point:
        """TCG has any number that need no change to memory; KVM only has the processor's four."""
        return Point.HARDWARE if self.accelerator == "tcg" else Point.SOFTWARE

    @property
    def default_cpus(self) -> tuple[str, ...]:
        """One model with nested paging and one without; under KVM the host's own."""
        return ("EPYC", "qemu64") if self.accelerator == "tcg" else ("host",)

    @property
    def foreign_cpus(self) -> tuple[str, ...]:
        """Two of Intel's."""
        return ("Haswell", "Skylake-Server")

    @property
    def fullest_cpu(self) -> str:
        """All that TCG can do: virtual GIF is in no other model that every version has."""
        return "max" if self.accelerator == "tcg" else "host"

    def lacks(self, boot: Boot) -> str:
        """TCG can watch a page, KVM has debug registers of 8 bytes."""
        if boot.guard_hsave and self.accelerator != "tcg":
            return "cannot watch every access to a page: QEMU's TCG can (--engine tcg)"
        return ""

    def dear(self, boot: Boot) -> str:
        """No boot takes long."""
        return ""

    def close(self) -> None:
        """Nothing runs between boots."""

    @property
    def description(self) -> str:
        """One line: what it is and why it was chosen."""
        return f"QEMU {self.version}, {self.accelerator.upper()}" + (f": {self.why}" if self.why else "")

    # CPU models

    def cpu_models(self) -> dict[str, CpuModel]:
        """Its 64-bit models by name, each without the suffix of a version; asked of the engine once and remembered."""
        return self._models

    def cpu(self, spec: str) -> CpuModel:
        """The model behind ``EPYC`` or ``EPYC,-svm``; raise :class:`SvmconfError` when there is none of that name."""
        name, *changes = spec.split(",")
        model = self._models.get(name)
        if model is None:
            raise SvmconfError(f"{self.name} has no CPU model {name!r}", f"it has: {', '.join(self._models)}")
        bits: dict[str, object] = {
            feature: change[0] == "+" for feature in ("svm", "npt") for change in changes if change[1:] == feature
        }
        return model.model_copy(update={"name": spec} | bits)

    @cached_property
    def _models(self) -> dict[str, CpuModel]:
        return remembered(Path(self.argv[-1]), f"models of {self.accelerator} 1", _MODELS, self._ask_models)

    def _ask_models(self) -> dict[str, CpuModel]:
        models: dict[str, CpuModel] = {}
        with (
            tempfile.TemporaryDirectory(prefix="svmconf-") as folder,
            QemuMachine(self._command("qemu64"), 16, Path(folder), Deadline.after(60), self._environment) as machine,
        ):
            definitions = machine.qmp.command("query-cpu-definitions")
            for name in sorted(d["name"] for d in definitions if not re.search(r"-v\d+$", d["name"])):
                if name == "host" and self.accelerator == "tcg":
                    continue
                try:
                    answer = machine.qmp.command("query-cpu-model-expansion", type="full", model={"name": name})
                except EngineError:
                    continue  # a model that this accelerator cannot offer
                props = answer["model"]["props"]
                if props.get("lm"):
                    models[name] = CpuModel(
                        name=name,
                        vendor=props.get("vendor", ""),
                        long_mode=True,
                        svm=bool(props.get("svm")),
                        npt=bool(props.get("npt")),
                    )
        return models

    # Booting

    def observe(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
        """Boot a hypervisor and bring back all that was seen."""
        image = Image.load(manifest.image)
        seconds = manifest.seconds_for(boot)
        memory, more = manifest.memory_for(boot), _more(boot, folder)
        with self._machine(image, manifest.command_line(boot), cpu, memory, seconds, folder, more=more) as machine:
            seen = observe(machine, image, manifest, boot, self._breakpoints)
        return seen.model_copy(update={"engine": self.name, "engine_version": self.version, "cpu": cpu})

    @property
    def room(self) -> int:
        """All that the probe takes."""
        return wire.MOST

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """Boot the probe with a payload."""
        probe, copy = Image.load(PROBE_IMAGE), folder / "program.elf"
        try:
            image = payload.image(probe, copy)
            with self._machine(image, "", cpu, MEMORY, payload.seconds, folder) as machine:
                left = carry_out(machine, probe, payload)
        finally:
            copy.unlink(missing_ok=True)
        return left.model_copy(update={"engine": self.name, "engine_version": self.version, "cpu": cpu})

    def alone(self, linux: Linux, cpu: str, seconds: float, folder: Path, until: str = "") -> Alone:
        """Boot it without a hypervisor."""
        command = self._alone(linux, cpu)
        with QemuMachine(command, linux.memory, folder, Deadline.after(seconds), self._environment) as machine:
            ended = machine.run(lambda stop: machine.debugger.resume(), over=shows(machine, until))
            return Alone(ended=ended, console=machine.console(), seconds=time.monotonic() - machine.ready)

    def _alone(self, linux: Linux, cpu: str) -> list[str]:
        files = Files.of(linux)
        words = "-smp", str(linux.processors), "-initrd", str(files.initramfs)
        return self._command(cpu, files.kernel, linux.command_line, words)

    def console(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Console:
        """The command for a terminal: serial port on stdio, QMP and gdbstub on sockets in ``folder``."""
        command = self._command(cpu, manifest.image, manifest.command_line(boot), _more(boot, folder))
        return self._console(command, manifest.memory_for(boot), folder)

    def console_alone(self, linux: Linux, cpu: str, folder: Path) -> Console:
        """The same for a Linux without a hypervisor."""
        return self._console(self._alone(linux, cpu), linux.memory, folder)

    def _console(self, command: list[str], memory: int, folder: Path) -> Console:
        qmp, gdb = folder / "qmp", folder / "gdb"
        command = [
            *command,
            *("-m", f"{memory}M", "-object", f"memory-backend-ram,id=ram,size={memory}M"),
            *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
            *("-qmp", f"unix:{qmp},server=on,wait=off", "-gdb", f"unix:{gdb},server=on,wait=off"),
        ]
        return Console(command, qmp, gdb, self._env)

    def watched(
        self, manifest: Manifest, boot: Boot, cpu: str, plugin: Plugin | None, folder: Path
    ) -> AbstractContextManager[QemuMachine]:
        """A machine with a hypervisor, and with a TCG plugin if need be, stopped before its first instruction."""
        image = Image.load(manifest.image)
        memory, seconds, more = manifest.memory_for(boot), manifest.seconds_for(boot), _more(boot, folder)
        return self._machine(image, manifest.command_line(boot), cpu, memory, seconds, folder, plugin, more)

    @contextmanager
    def _machine(
        self,
        image: Image,
        cmdline: str,
        cpu: str,
        memory: int,
        seconds: float,
        folder: Path,
        plugin: Plugin | None = None,
        more: Sequence[str] = (),
    ) -> Iterator[QemuMachine]:
        command = self._command(cpu, image.path, cmdline, more)
        with QemuMachine(command, memory, folder, Deadline.after(seconds), self._environment, plugin) as machine:
            (folder / "command.json").write_text(json.dumps(machine.command, indent=1))
            yield machine

    def _command(self, cpu: str, image: Path | None = None, cmdline: str = "", more: Sequence[str] = ()) -> list[str]:
        return [
            *self.argv,
            *self._arguments,
            *("-machine", "pc,memory-backend=ram", "-accel", self.accelerator, "-cpu", cpu),
            *("-nodefaults", "-no-user-config", "-vga", "none", "-display", "none", "-no-reboot"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            *(("-kernel", str(image)) if image else ()),
            *(("-append", cmdline) if cmdline else ()),
            *more,
        ]


def _more(boot: Boot, folder: Path) -> tuple[str, ...]:
    """What a boot asks of the machine beyond the hypervisor."""
    processors = ("-smp", str(boot.all_processors)) if boot.all_processors > 1 else ()
    return (*processors, *_modules(boot.linux, folder)) if boot.linux else processors


def _modules(linux: Linux, folder: Path) -> tuple[str, ...]:
    """What makes QEMU hand a Linux over as boot modules, by links in ``folder``: a path ends at a space there."""
    files = Files.of(linux)
    links = {folder / "vmlinuz": files.kernel, folder / "initramfs": files.initramfs}
    for link, file in links.items():
        if " " in str(link):
            raise EngineError(f"QEMU takes no boot module from {link}, whose path has a space", "--out DIR")
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    kernel, initramfs = (str(link).replace(",", ",,") for link in links)
    return "-initrd", f"{kernel} {linux.command_line.replace(',', ',,')},{initramfs}"
