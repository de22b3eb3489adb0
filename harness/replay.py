"""A run that boots nothing: the cases of today judge what another run recorded.

A verdict is a function of what was observed, so a case that was mended, an expectation that was added or a whole new
reading of a requirement can be tried on an old ledger, and a ledger from elsewhere can be judged by one's own suite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness import circumstances, ledger
from harness.boot import Boot
from harness.cases import Boots, Executes, NotRun
from harness.engines.base import Console, CpuModel, Engine
from harness.errors import EngineError, SvmconfError
from harness.guests.linux import Linux
from harness.hypervisors.manifest import Manifest
from harness.lab.payload import Left, Payload
from harness.lab.program import Program
from harness.ledger import EngineLine, Entry, Evidence, Ledger
from harness.observation import Alone, Observation
from harness.run import STRESS, Run, Setting


@dataclass(frozen=True)
class Recorded:
    """An engine of which only the name is left: it answers for what was recorded of it, and boots nothing."""

    line: EngineLine

    @property
    def name(self) -> str:
        """Its name."""
        return self.line.name

    @property
    def version(self) -> str:
        """Its exact version then."""
        return self.line.version

    @property
    def family(self) -> str:
        """What its expectations are filed under."""
        return self.line.family

    @property
    def description(self) -> str:
        """What it was."""
        return self.line.why

    @property
    def default_cpus(self) -> tuple[str, ...]:
        """The models that were chosen."""
        return tuple(self.line.cpus)

    @property
    def foreign_cpus(self) -> tuple[str, ...]:
        """Not known any more, and not needed: the settings are those recorded."""
        return ()

    @property
    def fullest_cpu(self) -> str:
        """Not known any more, and not needed either."""
        return ""

    def lacks(self, boot: Boot) -> str:
        """Nothing: what could not be observed has no evidence."""
        return ""

    def dear(self, boot: Boot) -> str:
        """Nothing boots."""
        return ""

    def close(self) -> None:
        """Nothing runs."""

    def alone(self, linux: Linux, cpu: str, seconds: float, folder: Path, until: str = "") -> Alone:
        """It cannot; raises :class:`EngineError`."""
        raise EngineError(f"{self.name} is a recording: it boots nothing")

    def cpu_models(self) -> dict[str, CpuModel]:
        """Those that cases ran on."""
        return self.line.models

    def cpu(self, spec: str) -> CpuModel:
        """One of those."""
        return self.line.models[spec]

    def observe(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Observation:
        """It cannot; raises :class:`EngineError`."""
        raise EngineError(f"{self.name} is a recording: it boots nothing")

    @property
    def room(self) -> int:
        """Nothing boots."""
        return 0

    def carry_out(self, payload: Payload, cpu: str, folder: Path) -> Left:
        """It cannot; raises :class:`EngineError`."""
        raise EngineError(f"{self.name} is a recording: it executes nothing")

    def console(self, manifest: Manifest, boot: Boot, cpu: str, folder: Path) -> Console:
        """It has none; raises :class:`EngineError`."""
        raise EngineError(f"{self.name} is a recording: it has no console")


class Replay(Run):
    """A :class:`Run` whose engines are recordings."""

    def __init__(self, recorded: Ledger, hypervisor: str, folder: Path) -> None:
        asked = recorded.header.asked
        super().__init__("", "", hypervisor, "", folder, stress=asked.stress if asked else STRESS)
        self.operations = asked.operations if asked else 0
        self._recorded = recorded
        self._entries: dict[str, list[Entry]] = {}
        for entry in recorded.entries:
            self._entries.setdefault(entry.function, []).append(entry)
        self._by_case = {entry.case: entry for entry in recorded.entries}

    @property
    def seed(self) -> int | None:
        """The recording's: a case that draws at random asks for what was recorded only if it draws the same."""
        return self._recorded.header.seed

    @cached_property
    def engines(self) -> dict[str, Engine]:
        """The engines of the ledger, as recordings."""
        return {line.name: Recorded(line) for line in self._recorded.header.engines}

    @cached_property
    def _evidence(self) -> dict[tuple[str, str, str], Evidence]:
        found: dict[tuple[str, str, str], Evidence] = {}
        for evidence in self._recorded.evidence.values():
            if evidence.observation is not None:
                o = evidence.observation
                found[o.engine, o.cpu, o.boot.model_dump_json()] = evidence
            if evidence.seen is not None:
                s = evidence.seen
                found[s.engine, s.cpu, s.program.model_dump_json()] = evidence
        return found

    def check_choice(self) -> None:
        """Nothing was chosen."""

    def check(self) -> None:
        """Nothing can be missing."""

    def built_manifest(self) -> Manifest:
        """The manifest; nothing is built."""
        return self.manifest

    def cpus(self, engine: Engine) -> tuple[str, ...]:
        """The models of the recording."""
        return engine.default_cpus

    def settings(self, what: Boots | Executes, function: str = "") -> list[Setting]:
        """Those of the ledger that the case still has."""
        names = [Setting(what, n, "", "").variant_name for n in range(len(what.variants))]
        return [
            Setting(what, names.index(entry.variant), entry.engine, entry.cpu)
            for entry in self._entries.get(function, [])
            if entry.variant in names and entry.engine in self.engines
        ]

    def lacks_probe(self) -> str:
        """Nothing is executed."""
        return ""

    def repeats(self, case: str) -> Entry | None:
        """The entry of a case that left no evidence: its verdict cannot be judged again."""
        entry = self._by_case.get(case)
        return entry if entry is not None and not entry.evidence else None

    def header(self) -> ledger.Header:
        """That of the recording, under this run's name."""
        update = {"run": self.folder.name, "started": circumstances.now(), "command": circumstances.command()}
        return self._recorded.header.model_copy(update=update)

    def observe(self, engine: Engine, boot: Boot, cpu: str) -> Evidence:
        """What was recorded of this boot; raise :class:`NotRun` when nothing was."""
        return self._find(engine, cpu, boot.model_dump_json, "boot")

    def execute(self, engine: Engine, name: str, program: Program, cpu: str) -> Evidence:
        """What was recorded of this program; raise :class:`NotRun` when nothing was."""
        return self._find(engine, cpu, program.model_dump_json, f"program {name}".strip())

    def _find(self, engine: Engine, cpu: str, what: Callable[[], str], name: str) -> Evidence:
        evidence = self._evidence.get((engine.name, cpu, what()))
        if evidence is None:
            raise NotRun(f"the ledger holds no observation of this {name}: the case asks for another one by now")
        return evidence


def of(path: Path, hypervisor: str, folder: Path) -> Replay:
    """A replay of the ledger at ``path`` (its file, or a run's folder); raise :class:`SvmconfError` without one."""
    file = path / "ledger.jsonl" if path.is_dir() else path
    if not file.exists():
        raise SvmconfError(f"no ledger at {file}", "give a ledger.jsonl or the folder of a run")
    recorded = ledger.read(file)
    return Replay(recorded, hypervisor or recorded.header.hypervisor, folder)
