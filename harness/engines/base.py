"""What every engine offers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from harness.boot import Boot
from harness.guests.linux import Linux
from harness.hypervisors.manifest import Manifest
from harness.lab.payload import Left, Payload
from harness.observation import Alone, Observation


class CpuModel(BaseModel):
    """What an engine says of one of its processor models: vendor, 64-bit mode, and the bits that SVM is about."""

    model_config = ConfigDict(frozen=True)

    name: str
    vendor: str
    long_mode: bool
    svm: bool
    npt: bool

    @property
    def amd(self) -> bool:
        """Whether its vendor string is one with SVM."""
        return self.vendor in ("AuthenticAMD", "HygonGenuine")


@dataclass(frozen=True)
class Console:
    """How a person gets a live console: the command for a terminal, and the sockets beside it.

    ``env`` is to be added to the environment.
    """

    command: list[str]
    qmp: Path
    gdb: Path
    env: dict[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Something that boots images. ``name`` is like ``qemu-7.2``; ``version`` is exact; both go into every report.

    ``family`` is what its expectations are filed under: ``qemu``, ``qemu+kvm``, ``bochs``, ``kvm``, ``xen``.
    """

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def family(self) -> str:
        """What its expectations are filed under."""

    @property
    def version(self) -> str:
        """Its exact version."""

    @property
    def default_cpus(self) -> tuple[str, ...]:
        """The models to take when none are asked for: one with nested paging and, if there is one, one without."""

    @property
    def foreign_cpus(self) -> tuple[str, ...]:
        """Models of vendors that never had SVM, to take when none are asked for."""

    @property
    def fullest_cpu(self) -> str:
        """The model that has most of what SVM offers here, to take when none is asked for."""

    def lacks(self, boot: Boot) -> str:
        """Why this boot cannot be observed as it asks (a watched page, an injected fault); empty when it can."""

    @property
    def description(self) -> str:
        """One line: what it is and why it was chosen."""

    def cpu_models(self) -> dict[str, CpuModel]:
        """Its processor models by name; cached, sorted by name."""

    def cpu(self, spec: str) -> CpuModel:
        """The model that ``spec`` (a name, then ``,+feature`` or ``,-feature``) amounts to here."""

    def observe(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
        """Boot a hypervisor and bring back all that was seen. Files go to ``folder``; nothing outlives the call."""

    def alone(self, linux: Linux, cpu: str, seconds: float, folder: Path, until: str = "") -> Alone:
        """Boot a Linux without a hypervisor, to its end or until its console shows ``until``.

        Raises :class:`harness.errors.EngineError` where that cannot be done.
        """

    @property
    def room(self) -> int:
        """Bytes of programs that one boot of the probe takes."""

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """Boot the probe with a payload, and bring back what it left (:mod:`harness.lab.run` makes sense of it)."""

    def dear(self, boot: Boot) -> str:
        """Why this boot is left out of a run that does not ask for its guest by name; empty when it is not."""

    def close(self) -> None:
        """End whatever it keeps running between boots."""

    def console(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Console:
        """A live console for a person."""
