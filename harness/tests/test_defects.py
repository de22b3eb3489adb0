"""Every seeded defect turns red exactly the cases that it says, and no other; without one, none is red.

The image tells which defects a boot came by (docs/defects.md). So each boot is watched once with none on; for a defect
only those are watched again that came by it, since the others would do the same.

A defect may name the engine on which it shows: on the default one it then turns nothing red, and there its cases.

A Linux boots for a defect only where it names a case about that: a boot takes as long as all the others together. The
same goes for a guest that hangs; and of guests that mean no good the first variant does where no such case is named.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from harness import build
from harness.boot import Boot
from harness.cases import Boots, NotRun
from harness.engines import select, store
from harness.engines.base import Engine
from harness.engines.qemu import Qemu
from harness.guests.files import missing
from harness.guests.linux import Linux
from harness.hypervisors.manifest import load
from harness.hypervisors.ours import seeded_manifest
from harness.observation import Alone, Observation
from harness.run import Run
from harness.suite import cases

ELSEWHERE = sorted(name for name, defect in build.defects().items() if defect.engine)
"""The defects that show on an engine of the store only."""

LOOPS = 80  # enough for a defect that shows at every 64th exit

Case = Callable[[Observation], None]


class Watched:
    """Boots of the seeded image on one engine, with one defect on or none, each watched once."""

    def __init__(self, engine: Engine, folder: Path, defect: str = "", plain: Watched | None = None) -> None:
        self.engine = engine
        self.defect = defect
        self.run = Run(engine.name, engine.default_cpus[0], "svmconf", "", folder)
        self._plain = plain
        self._manifest = seeded_manifest(f"defect={defect}" if defect else "")
        self._watched = cache(self._watch)
        self._met = cache(self._tell)
        self._alone: Callable[[str, str], Alone] = plain._alone if plain else cache(self._boot_alone)

    def observe(self, boot: Boot, cpu: str, in_any_case: bool) -> Observation | None:
        """What came of it; nothing where the defect is not met, so that it would be as without.

        With ``in_any_case`` it boots all the same: where timing decides what is met, the plain boot may have missed it.
        """
        boot = self.run.choose(boot)
        if self._plain and not in_any_case and self.defect not in self._plain.met(boot, cpu):
            return None
        return self._watched(boot.model_dump_json(), cpu)

    def met(self, boot: Boot, cpu: str) -> frozenset[str]:
        """The defects that a boot comes by: all, for what is known, when it did not end by itself."""
        return self._met(boot.model_dump_json(), cpu)

    def _watch(self, boot: str, cpu: str) -> Observation:
        asked = Boot.model_validate_json(boot)
        seen = self.engine.observe(self._manifest, asked, cpu, self._folder())
        if asked.linux is None:
            return seen
        return seen.model_copy(update={"alone": self._alone(boot, cpu)})

    def _boot_alone(self, boot: str, cpu: str) -> Alone:
        """The same Linux without the hypervisor, whatever defect that has."""
        asked = Boot.model_validate_json(boot)
        assert asked.linux is not None
        return self.engine.alone(asked.linux, cpu, self._manifest.seconds_for(asked), self._folder())

    def _folder(self) -> Path:
        self.run.folder.mkdir(exist_ok=True)
        here = self.run.folder / str(len(list(self.run.folder.iterdir())))
        here.mkdir()
        return here

    def _tell(self, boot: str, cpu: str) -> frozenset[str]:
        told = list(self._watched(boot, cpu).of_kind("defects"))
        if len(told) != 1:
            return frozenset(build.defects())
        bits = int(told[0].fields["low"]) | int(told[0].fields["high"]) << 64
        return frozenset(name for place, name in enumerate(build.defects()) if bits >> place & 1)


def verdicts(
    watched: Watched,
    linux: bool,
    named: Callable[[str], bool] = lambda case: True,
    only_named: bool = False,
) -> dict[str, str]:
    """``red``, ``green`` or ``not run`` for every case, each judged on one CPU model of its kind."""
    found: dict[str, str] = {}
    for name, case, boots in cases("boots"):
        if only_named and not named(name):
            continue
        cpu = watched.run.settings(boots)[0].cpu
        # No defect looks at VM_CR.LOCK: boots that differ from another in that alone would tell nothing new.
        variants = [boot for boot in boots.variants if not (boot.name.startswith("locked") or boot.as_often_as_asked)]
        if not named(name):
            variants = [boot for boot in variants if boot.guest != "pc.hang"]
            variants = variants[:1] if name.startswith("misbehaving/") else variants
        if about_linux(boots):
            if not linux:
                continue
            variants = variants[:1]
        # A Linux boots only for defects that it comes by, and takes long.
        in_any_case = named(name) or about_linux(boots)
        seen = [watched.observe(_shorter(boot), cpu, in_any_case) for boot in variants]
        results = [_judge(case, boots, one) for one in seen if one is not None]
        found[name] = next((v for v in ("red", "not run") if v in results), "green")
    return found


def about_linux(boots: Boots) -> bool:
    return any(boot.linux is not None for boot in boots.variants)


def _judge(case: Case, boots: Boots, seen: Observation) -> str:
    assert not seen.ended.engine_at_fault, str(seen.ended)
    if boots.guest_runs and not seen.guest_ran:
        return "not run"
    try:
        case(seen)
    except NotRun:
        return "not run"
    except AssertionError:
        return "red"
    return "green"


def _shorter(boot: Boot) -> Boot:
    return boot if boot.count is None else boot.model_copy(update={"count": min(boot.count, LOOPS)})


def test_there_are_cases() -> None:
    assert len(list(cases("boots"))) >= 20


@pytest.fixture(scope="module")
def plain(qemu: Qemu, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """The default engine, with no defect on."""
    return Watched(qemu, tmp_path_factory.mktemp("plain"))


def test_without_a_defect_all_is_green(plain: Watched) -> None:
    """But for cases that this engine lets no software come to, which :data:`ELSEWHERE` are turned red on another."""
    found = verdicts(plain, linux=load("svmconf").modules and not missing(Linux()))
    elsewhere = {case for defect in ELSEWHERE for case in build.defects()[defect].turns_red}
    others = {name: one for name, one in found.items() if one != "green"}
    assert not {name: one for name, one in others.items() if (one, name in elsewhere) != ("not run", True)}


@pytest.mark.parametrize("defect", sorted(build.defects()))
def test_defect_turns_red_what_it_says(defect: str, plain: Watched, tmp_path: Path) -> None:
    turns_red = set(build.defects()[defect].turns_red)
    linux = any(case.startswith("linux/") for case in turns_red)
    if linux and (lack := missing(Linux())):
        pytest.skip(lack)
    found = verdicts(Watched(plain.engine, tmp_path, defect, plain), linux, turns_red.__contains__)
    expected = set() if defect in ELSEWHERE else turns_red
    assert {name for name, verdict in found.items() if verdict == "red"} == expected


@pytest.mark.engines
@pytest.mark.parametrize("defect", ELSEWHERE)
def test_defect_turns_red_what_it_says_where_it_shows(defect: str, tmp_path: Path) -> None:
    """On the engine that it names; there its cases are green without it."""
    known = build.defects()[defect]
    try:
        engine = select.engine(known.engine)
    except store.EngineMissing as error:
        pytest.skip(f"{error.what}: {error.hint}")
    for on, verdict in (("", "green"), (defect, "red")):
        found = verdicts(Watched(engine, tmp_path / verdict, on), False, known.turns_red.__contains__, only_named=True)
        assert found == dict.fromkeys(known.turns_red, verdict)


def test_every_case_is_turned_red_by_a_defect() -> None:
    turned = {case for defect in build.defects().values() for case in defect.turns_red}
    assert {name for name, _, boots in cases("boots") if load("svmconf").modules or not about_linux(boots)} == turned
