"""Every seeded defect turns red exactly the cases that it says, and no other; without one, none is red.

A defect may name the engine on which it shows: on the default one it then turns nothing red, and there its cases.

A Linux boots for a defect only where it names a case about that: a boot takes as long as all the others together. The
same goes for a guest that hangs; and of guests that mean no good the first variant does where no such case is named.
"""

from __future__ import annotations

from collections.abc import Callable
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
from harness.hypervisors.manifest import Manifest, load
from harness.observation import Observation
from harness.run import Run, observed
from harness.suite import cases

ELSEWHERE = sorted(name for name, defect in build.defects().items() if defect.engine)
"""The defects that show on an engine of the store only."""

LOOPS = 80  # enough for a defect that shows at every 64th exit

Case = Callable[[Observation], None]


def verdicts(
    engine: Engine,
    manifest: Manifest,
    folder: Path,
    linux: bool,
    named: Callable[[str], bool] = lambda case: True,
    only_named: bool = False,
) -> dict[str, str]:
    """``red``, ``green`` or ``not run`` for every case, each judged on one CPU model of its kind."""
    run = Run(engine.name, engine.default_cpus[0], "svmconf", "", folder)
    seen: dict[tuple[str, str], Observation] = {}

    def observe(boot: Boot, cpu: str) -> Observation:
        key = boot.model_dump_json(), cpu
        if key not in seen:
            here = folder / str(len(seen))
            here.mkdir()
            seen[key] = observed(engine, manifest, run.choose(boot), cpu, here)
        return seen[key]

    found: dict[str, str] = {}
    for name, case, boots in cases("boots"):
        if only_named and not named(name):
            continue
        cpu = run.settings(boots)[0].cpu
        # No defect looks at VM_CR.LOCK: boots that differ from another in that alone would tell nothing new.
        variants = [boot for boot in boots.variants if not (boot.name.startswith("locked") or boot.as_often_as_asked)]
        if not named(name):
            variants = [boot for boot in variants if boot.guest != "pc.hang"]
            variants = variants[:1] if name.startswith("misbehaving/") else variants
        if about_linux(boots):
            if not linux:
                continue
            variants = variants[:1]
        results = [_judge(case, boots, observe(_shorter(boot), cpu)) for boot in variants]
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


def test_without_a_defect_all_is_green(qemu: Qemu, tmp_path: Path) -> None:
    """But for cases that this engine lets no software come to, which :data:`ELSEWHERE` are turned red on another."""
    ours = load("svmconf").model_copy(update={"image": build.image()})
    found = verdicts(qemu, ours, tmp_path, linux=ours.modules and not missing(Linux()))
    elsewhere = {case for defect in ELSEWHERE for case in build.defects()[defect].turns_red}
    others = {name: one for name, one in found.items() if one != "green"}
    assert not {name: one for name, one in others.items() if (one, name in elsewhere) != ("not run", True)}


@pytest.mark.parametrize("defect", sorted(build.defects()))
def test_defect_turns_red_what_it_says(defect: str, qemu: Qemu, tmp_path: Path) -> None:
    linux = any(case.startswith("linux/") for case in build.defects()[defect].turns_red)
    if linux and (lack := missing(Linux())):
        pytest.skip(lack)
    ours = load("svmconf").model_copy(update={"image": build.image(defect)})
    found = verdicts(qemu, ours, tmp_path, linux, build.defects()[defect].turns_red.__contains__)
    expected = set() if defect in ELSEWHERE else set(build.defects()[defect].turns_red)
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
    for built, verdict in (("", "green"), (defect, "red")):
        ours = load("svmconf").model_copy(update={"image": build.image(built)})
        folder = tmp_path / verdict
        folder.mkdir()
        found = verdicts(engine, ours, folder, False, known.turns_red.__contains__, only_named=True)
        assert found == dict.fromkeys(known.turns_red, verdict)


def test_every_case_is_turned_red_by_a_defect() -> None:
    turned = {case for defect in build.defects().values() for case in defect.turns_red}
    assert {name for name, _, boots in cases("boots") if load("svmconf").modules or not about_linux(boots)} == turned
