"""Xen inside TCG: nested SVM as Xen offers it to a domain, on any machine (:mod:`harness.machine.xen`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from harness import paths
from harness.boot import Boot
from harness.engines import store
from harness.engines.base import Console, CpuModel
from harness.engines.collect import carry_out, observe
from harness.engines.store.recipes import recipes
from harness.errors import SvmconfError
from harness.guests.linux import Linux
from harness.hypervisors.manifest import Manifest
from harness.lab import wire
from harness.lab.payload import MEMORY, STEP_CODE, Left, Payload
from harness.machine.base import Point
from harness.machine.handoff import multiboot1
from harness.machine.image import Image
from harness.machine.xen.dom0 import Domain
from harness.machine.xen.layer import Layer, Refused
from harness.machine.xen.machine import XenMachine
from harness.observation import Alone, Observation

PROBE_IMAGE = paths.IMAGES / "probe.elf"
_MODEL, _WITHOUT_NPT, _FOREIGN = "EPYC", "EPYC,-npt", "GenuineIntel"
_MEMORY = 128
"""MiB of a domain, unless a manifest asks for more: one kept state serves most cases."""
_GUARDED = 3

_PORTS = "gives a guest of a domain the ports that are open to the domain: also the exit port, which ends the machine"
_LACKS = {
    "pc.fuzz": _PORTS,
    "pc.outs": _PORTS,
    "pc.sweep": "prints a line for each of a hundred thousand exits, at the speed of a serial port",
}
"""Guests with a whole machine that it cannot run.

Where a domain intercepts neither port 80h nor EDh, nestedhvm_vcpu_iomap_get() of xen/arch/x86/hvm/nestedhvm.c gives its
guest the map of domains rather than what the domain intercepts; and in that map the engine opens ports.
"""


class Xen:
    """A Xen of some version in L0's QEMU, by its name in the engine store (``xen-4.17``)."""

    family = "xen"

    def __init__(self, name: str) -> None:
        self.name = name
        needs = {part.partition("-")[0]: part for part in recipes().of(name).needs}
        self._xen = store.tree(name)
        self._qemu = store.runnable(needs["qemu"])
        self._kernel = store.tree(needs["linux"])
        self._busybox = store.tree(needs["busybox"])
        self.version = f"{self._xen.version} (dom0 Linux {self._kernel.version}; L0 QEMU {self._qemu.version})"

    @property
    def description(self) -> str:
        """One line: what it is and why it was chosen."""
        nested = "nested SVM of a PVH domain" if self._refusal is None else f"it refuses nestedhvm=1: {self._refusal}"
        return f"Xen {self._xen.version} inside QEMU {self._qemu.version}, TCG: {nested}"

    @property
    def default_cpus(self) -> tuple[str, ...]:
        """With nested paging and without; one without SVM where Xen offers no more."""
        return (_MODEL, _WITHOUT_NPT)

    @property
    def foreign_cpus(self) -> tuple[str, ...]:
        """A domain may be told another vendor than the processor's."""
        return (_FOREIGN,)

    @property
    def fullest_cpu(self) -> str:
        """There is one processor only."""
        return _MODEL

    def lacks(self, boot: Boot) -> str:
        """L0's debugger sees and changes everything. There is no PC."""
        if boot.linux:
            return "cannot run a Linux in a domain's guest: it reads a wrong CR2, and has no timer (docs/linux.md)"
        if boot.memory:
            return f"gives every domain at least {_MEMORY} MiB"
        if boot.all_processors > 1:
            return "has one processor only"
        return _LACKS.get(boot.guest or "", "")

    def dear(self, boot: Boot) -> str:
        """No boot takes long."""
        return ""

    def close(self) -> None:
        """Nothing runs between boots."""

    # CPU models

    def cpu_models(self) -> dict[str, CpuModel]:
        """What domains are offered on L0's EPYC: SVM with and without nested paging, or another vendor's name."""
        nested = self._refusal is None
        models = [CpuModel(name=_MODEL, vendor="AuthenticAMD", long_mode=True, svm=nested, npt=nested)]
        if nested:
            models.append(models[0].model_copy(update={"name": _WITHOUT_NPT, "npt": False}))
        models.append(CpuModel(name=_FOREIGN, vendor=_FOREIGN, long_mode=True, svm=False, npt=False))
        return {model.name: model for model in models}

    def cpu(self, spec: str) -> CpuModel:
        """A model, with ``-svm`` (a domain without nestedhvm) or ``-npt`` (its CPUID shows no nested paging)."""
        name, *changes = spec.split(",")
        models = self.cpu_models()
        if name not in models:
            raise SvmconfError(f"{self.name} has no CPU model {name!r}", f"it has: {', '.join(models)}")
        bits: dict[str, object] = {}
        for change in changes:
            if change not in ("+svm", "-svm", "+npt", "-npt"):
                raise SvmconfError(f"{self.name} cannot change {change!r}", "it knows -svm and -npt")
            bits[change[1:]] = change[0] == "+"
        if bits.get("svm") and not models[name].svm:
            raise SvmconfError(f"{self.name} has no SVM for {name}", self._refusal or "it takes a processor of AMD's")
        return models[name].model_copy(update={"name": spec} | bits)

    @cached_property
    def _refusal(self) -> str | None:
        """Why this Xen offers no nested SVM here, in xl's words; asked of it once, then remembered with the states.

        From 4.19 on start_nested_svm() wants LBRV, NRIPS, FLUSHBYASID and DECODEASSISTS, which TCG has not.
        """
        try:
            self._layer(Domain(_MEMORY, svm=True, npt=True)).state()
        except Refused as refused:
            return refused.what
        return None

    def _layer(self, domain: Domain) -> Layer:
        # MONITOR makes dom0 idle in a way that TCG spins on; SMAP is broken for Xen's dom0 on QEMU 7.2.
        smap = ",-smap" if self._qemu.version.startswith("7.") else ""
        return Layer(
            name=self.name,
            qemu=self._qemu,
            xen=self._xen,
            kernel=self._kernel,
            busybox=self._busybox,
            cpu=f"{_MODEL},+svm,+npt,-monitor{smap}",
            domain=domain,
        )

    # Booting

    def observe(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
        """Boot a hypervisor and bring back all that was seen."""
        image = Image.load(manifest.image)
        memory, seconds = max(_MEMORY, manifest.memory), boot.seconds or manifest.seconds
        if boot.guard_hsave:  # the machine stops twice at each VMRUN, and Xen has much to do there
            seconds *= _GUARDED
        with self._machine(image, manifest.command_line(boot), cpu, memory, seconds, folder) as machine:
            seen = observe(machine, image, manifest, boot, Point.HARDWARE)
        return seen.model_copy(update=self._who(cpu))

    def alone(self, linux: Linux, cpu: str, seconds: float, folder: Path, until: str = "") -> Alone:
        """It cannot."""
        raise SvmconfError(f"{self.name} boots no Linux without a hypervisor yet", "--engine qemu-10.0")

    @property
    def room(self) -> int:
        """All that the probe takes."""
        return wire.MOST

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """Boot the probe with a payload."""
        probe, copy = Image.load(PROBE_IMAGE), folder / "program.elf"
        alone = len(payload.programs) == 1 and not payload.faults
        try:
            image = payload.image(probe, copy)
            asks = probe.symbol(STEP_CODE) if alone else None
            with self._machine(image, "", cpu, max(MEMORY, _MEMORY), payload.seconds, folder, asks) as machine:
                left = carry_out(machine, probe, payload)
                answers = tuple(machine.answers)
        finally:
            copy.unlink(missing_ok=True)
        return left.model_copy(update=self._who(cpu) | {"answers": answers})

    def console(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Console:
        """There is none: a domain is set going by the harness, not by a command line."""
        raise SvmconfError(f"{self.name} has no live console", "svmconf shell --engine qemu-10.0")

    def _who(self, cpu: str) -> dict[str, object]:
        layers = [
            f"Xen {self._xen.version}: what it intercepts",
            f"TCG of QEMU {self._qemu.version}: the rest",
        ]
        return {"engine": self.name, "engine_version": self.version, "cpu": cpu, "layers": layers}

    @contextmanager
    def _machine(
        self, image: Image, cmdline: str, cpu: str, memory: int, seconds: float, folder: Path, asks: int | None = None
    ) -> Iterator[XenMachine]:
        model = self.cpu(cpu)
        vendor = "" if model.amd else model.vendor
        layer = self._layer(Domain(memory, svm=model.svm, npt=model.npt, vendor=vendor))
        with XenMachine(layer, multiboot1(image, cmdline, memory), folder, seconds, asks) as machine:
            (folder / "command.json").write_text(json.dumps(machine.command, indent=1))
            yield machine
