"""One run: what is under test, on what, and where its files go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from harness import build, circumstances, ledger
from harness.boot import Boot
from harness.cases import Boots, Cpus, Executes
from harness.engines import select
from harness.engines.base import Engine
from harness.errors import SvmconfError
from harness.hypervisors import manifest as manifests
from harness.hypervisors import ours
from harness.hypervisors.manifest import Manifest
from harness.lab import runner
from harness.lab.program import Program
from harness.machine.image import Image
from harness.observation import Observation
from harness.shard import Shard

STRESS = 2.0
"""Seconds that a Linux guest is kept busy, unless a run asks for more."""

OPERATIONS_A_SECOND = 500
"""What a fuzzer does at the least, on an engine that emulates on a busy machine."""

_OURS = ("lock", "evidence.json", "evidence.draft")
"""Files beside those that a machine leaves."""


@dataclass(frozen=True)
class Setting:
    """One engine's CPU model and one variant of what a case boots or executes."""

    what: Boots | Executes
    variant: int
    engine: str
    cpu: str

    @property
    def variant_name(self) -> str:
        """The variant's own name, empty when the case has but one."""
        chosen = self.what.variants[self.variant]
        return chosen[0] if isinstance(chosen, tuple) else chosen.name

    @property
    def id(self) -> str:
        """What stands in brackets behind the case's name."""
        return ":".join(filter(None, (self.engine, self.cpu, self.variant_name)))


@dataclass
class Run:
    """The options of a run, and what they amount to; nothing is looked up before it is asked for."""

    engine_choice: str
    cpu_choice: str
    hypervisor: str
    defect: str
    folder: Path
    shard: Shard | None = None
    stress: float = STRESS
    operations: int = 0
    unavailable: dict[str, str] = field(default_factory=dict)

    @cached_property
    def engines(self) -> dict[str, Engine]:
        """The engines by name, in the order asked for; raises :class:`SvmconfError` naming what is missing.

        Of several, those that are not here are left out, and :attr:`unavailable` says why.
        """
        names = select.names(self.engine_choice)
        found: dict[str, Engine] = {}
        for name in names:
            try:
                engine = select.engine(name)
                engine.cpu_models()  # one that does not start says so here
                found[name] = engine
            except SvmconfError as error:
                if len(names) == 1:
                    raise
                self.unavailable[name] = str(error)
        if not found:
            raise SvmconfError(f"none of the engines {', '.join(names)} is here", "svmconf engines list")
        return found

    @property
    def engine(self) -> Engine:
        """The only engine, or the first."""
        return next(iter(self.engines.values()))

    @cached_property
    def manifest(self) -> manifests.Manifest:
        """The hypervisor under test."""
        manifest = manifests.load(self.hypervisor)
        if self.defect:
            if self.hypervisor != ours.NAME:
                raise SvmconfError("--defect goes with our own hypervisor only")
            ours.check_defect(self.defect)
        return manifest

    def lacks_probe(self) -> str:
        """Why there is no probe to execute programs; empty when there is one. Builds it when it is out of date."""
        try:
            build.probe()
        except SvmconfError as error:
            return str(error)
        return ""

    def repeats(self, case: str) -> ledger.Entry | None:
        """An earlier verdict that is to stand as it is; never in a run that observes for itself."""
        return None

    def choose(self, boot: Boot) -> Boot:
        """The boot with what it leaves to the run: how long a Linux guest is kept busy, how often a fuzzer acts."""
        if boot.as_often_as_asked and self.operations:
            seconds = self.manifest.seconds + self.operations / OPERATIONS_A_SECOND
            return boot.model_copy(update={"count": self.operations, "seconds": seconds})
        if boot.linux is None or boot.linux.stress is not None:
            return boot
        return boot.model_copy(update={"linux": boot.linux.model_copy(update={"stress": self.stress})})

    def check_choice(self) -> None:
        """Look engines and CPU models up; raise :class:`SvmconfError` naming what is missing or wrong."""
        chosen = [self.cpus(engine) for engine in self.engines.values()]
        if not any(chosen):
            known = "; ".join(f"{name} has: {', '.join(e.cpu_models())}" for name, e in self.engines.items())
            raise SvmconfError(f"no engine has a CPU model {self.cpu_choice!r}", known)

    def check(self) -> None:
        """Look everything up; raise :class:`SvmconfError` naming what is missing or wrong."""
        self.check_choice()
        if self.hypervisor != ours.NAME:  # ours is built when it is needed
            Image.load(self.manifest.image)

    def built_manifest(self) -> manifests.Manifest:
        """The manifest with its image in place: ours is built when it is out of date."""
        return self.manifest if self.hypervisor != ours.NAME else ours.our_manifest(self.defect)

    def cpus(self, engine: Engine) -> tuple[str, ...]:
        """The CPU models that were chosen on an engine: of several engines each takes those that it has."""
        models = engine.cpu_models()
        if self.cpu_choice == "all":
            return tuple(name for name, model in models.items() if model.amd)
        if not self.cpu_choice:
            return tuple(name for name in engine.default_cpus if name in models)
        # 'EPYC,max' are two models, 'EPYC,-svm' is one.
        specs = [spec.strip() for spec in re.split(r";|,(?![+-])", self.cpu_choice) if spec.strip()]
        if len(self.engines) > 1:
            specs = [spec for spec in specs if spec.partition(",")[0] in models]
        return tuple(engine.cpu(spec).name for spec in specs)

    def settings(self, what: Boots | Executes, function: str = "") -> list[Setting]:
        """Every setting of a case (``function`` is its id), in a stable order.

        One without a CPU model says that the engine has none that will do.
        """
        return [
            Setting(what, variant, name, cpu)
            for name, engine in self.engines.items()
            for cpu in self._cpus_for(engine, what.cpus) or [""]
            for variant in range(len(what.variants))
        ]

    def _cpus_for(self, engine: Engine, wanted: Cpus) -> list[str]:
        models = {cpu: engine.cpu(cpu) for cpu in self.cpus(engine)}
        if wanted is Cpus.CHOSEN:
            return list(models)
        if wanted is Cpus.WITH_SVM:
            return [cpu for cpu, model in models.items() if model.svm]
        if wanted is Cpus.FULLEST:
            fullest = [engine.fullest_cpu] if not self.cpu_choice else list(models)
            return [cpu for cpu in fullest if engine.cpu(cpu).svm]
        if wanted is Cpus.WITH_NPT:
            return [cpu for cpu, model in models.items() if model.svm and model.npt]
        everything = engine.cpu_models()
        if wanted is Cpus.FOREIGN:
            foreign = [name for name, model in everything.items() if not model.amd and name != "host"]
            return foreign if self.cpu_choice == "all" else [name for name in engine.foreign_cpus if name in foreign]
        changed = {cpu: _without_svm(engine, cpu) if model.svm else cpu for cpu, model in models.items() if model.amd}
        born = [name for name, model in everything.items() if model.amd and not model.svm and name != "host"]
        return list(dict.fromkeys(filter(None, (*changed.values(), *born[:1]))))  # and one that never had it

    def header(self) -> ledger.Header:
        """The ledger's first line."""
        return ledger.Header(
            run=self.folder.name,
            started=circumstances.now(),
            command=circumstances.command(),
            machine=circumstances.machine(),
            git=circumstances.git(),
            hypervisor=self.manifest.name,
            defect=self.defect,
            engines=[
                ledger.EngineLine(
                    name=name,
                    version=e.version,
                    family=e.family,
                    why=e.description,
                    cpus=list(self.cpus(e)),
                    models={cpu: e.cpu(cpu) for wanted in Cpus for cpu in self._cpus_for(e, wanted)},
                )
                for name, e in self.engines.items()
            ],
            unavailable=self.unavailable,
            shards=[str(self.shard)] if self.shard else [],
        )

    def make_folder(self) -> None:
        """Make the run's folder; raise :class:`SvmconfError` when the place cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SvmconfError(
                f"cannot write reports to {self.folder.parent}: {error.strerror}", "--out DIR chooses another folder"
            ) from error

    def close(self) -> None:
        """End what engines keep running between boots."""
        if "engines" in self.__dict__:
            for engine in self.engines.values():
                engine.close()

    def observe(self, engine: Engine, boot: Boot, cpu: str) -> ledger.Evidence:
        """Boot the hypervisor, once for all cases that ask for the same."""
        manifest = self.built_manifest()
        asked = f"{manifest.image} {boot.model_dump_json()}"
        return self._once(
            asked,
            f"{engine.name} {cpu} {boot.guest or manifest.name} {boot.name}",
            lambda id, folder: ledger.Evidence(id=id, observation=observed(engine, manifest, boot, cpu, folder)),
        )

    def execute(self, engine: Engine, name: str, program: Program, cpu: str) -> ledger.Evidence:
        """Let the probe execute a program, once for all cases that ask for the same."""
        build.probe()
        return self._once(
            program.model_dump_json(),
            f"{engine.name} {cpu} program {name}",
            lambda id, folder: ledger.Evidence(id=id, seen=runner.run(engine, program, cpu, folder)),
        )

    def artefacts(self, evidence: str) -> list[str]:
        """The files that a machine left, by the id of its evidence: their paths in the run's folder."""
        folder = self.folder / "machines" / evidence
        left = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _OURS)
        return [path.relative_to(self.folder).as_posix() for path in left]

    def _once(self, asked: str, name: str, make: Callable[[str, Path], ledger.Evidence]) -> ledger.Evidence:
        """What ``make`` brings back, made by whichever worker asks first. An engine that broke is asked again."""
        id = slug(f"{name} {hashlib.sha256(f'{name} {asked}'.encode()).hexdigest()[:8]}")
        folder = self.folder / "machines" / id
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "evidence.json"
        with FileLock(folder / "lock"):
            if kept.exists():
                return ledger.Evidence.model_validate_json(kept.read_bytes())
            evidence = make(id, folder)
            came = evidence.observation or evidence.seen
            if came is not None and not came.ended.engine_at_fault:
                draft = folder / "evidence.draft"
                draft.write_text(evidence.model_dump_json())
                draft.replace(kept)
        return evidence


def observed(engine: Engine, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
    """One boot; a Linux is booted without the hypervisor, too, to compare."""
    observation = engine.observe(manifest, boot, cpu, folder)
    if boot.linux is None or observation.ended.engine_at_fault:
        return observation
    beside = folder / "alone"
    beside.mkdir(exist_ok=True)
    alone = engine.alone(boot.linux, cpu, manifest.seconds_for(boot), beside)
    return observation.model_copy(update={"alone": alone})


def _without_svm(engine: Engine, cpu: str) -> str:
    """That model without SVM; empty where the engine cannot take it away."""
    try:
        return engine.cpu(f"{cpu},-svm").name
    except SvmconfError:
        return ""


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", name).strip("_")
