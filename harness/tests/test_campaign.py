"""Campaigns: specimens, what counts as a disagreement, making it small, folders, workers that die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import build
from harness.campaign import report
from harness.campaign.cluster import cluster
from harness.campaign.compare import Reading, findings
from harness.campaign.explore import Explored, Where, explore
from harness.campaign.finding import Finding
from harness.campaign.folder import Folder, Plan, new_causes
from harness.campaign.generate import specimen
from harness.campaign.schedule import campaign
from harness.campaign.shrink import smallest
from harness.campaign.specimen import ACTIONS, Specimen, Twist
from harness.engines import select
from harness.errors import SvmconfError
from harness.lab.guest import Mode
from harness.lab.seen import StepSeen, VmrunSeen
from harness.machine.image import Image
from harness.machine.vmcb import Vmcb
from harness.model import Cpuid, exits
from harness.model.cpuid import LEAST
from harness.model.state import with_field

NW = Twist(field="cr0", mask=1 << 29, value=1 << 29)
PLAN = Plan(
    seed=1, size=4, on=(Where(engine="one", cpu="m"), Where(engine="two", cpu="m")), versions={"one": "1", "two": "2"}
)


def vmrun(it: Specimen, code: int, vector: int | None = None, **after: int) -> VmrunSeen:
    """What an engine showed: an exit with this code, or a fault, and these fields after it."""
    before = Vmcb(it.guest().vmcb.data)
    done = with_field(before, "exitcode", code)
    for name, value in after.items():
        done = with_field(done, name, value)
    registers = {"rax": 0x100_0000}
    step = StepSeen(vector=vector, error=0, rip=0, cr2=0, efer=0, rflags=2, registers=registers, vm_hsave_pa=0)
    return VmrunSeen("guest", before, done, step)


def known() -> Cpuid:
    leaves = {0x8000_0000: (0x8000_000A, 0, 0, 0), 0x8000_0008: (0x3028, 0, 0, 0), 0x8000_000A: (1, 16, 0, 0)}
    return Cpuid.of(leaves).over(LEAST)


def found(it: Specimen, **seen: VmrunSeen | None) -> list[Finding]:
    return list(findings(it, {name: Reading(known(), one, "" if one else "gone") for name, one in seen.items()}))


# Specimens


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(0, 1 << 20))
def test_every_number_gives_a_program_and_always_the_same(seed: int, number: int) -> None:
    it = specimen(seed, number)
    assert it == specimen(seed, number)
    assert it.program.steps[2].vmcb is not None
    assert it.plain().guest().vmcb.data == it.guest().vmcb.data


def test_every_action_assembles_in_its_modes() -> None:
    for action in ACTIONS.values():
        for mode in action.modes:
            assert Specimen(mode=mode, action=action.name).guest().memory


# What disagrees


def test_a_guest_that_must_be_refused_and_ran() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID", twists=(NW,))
    (one,) = found(it, one=vmrun(it, 0x72), two=vmrun(it, exits.INVALID))
    assert (one.kind, one.engines, one.requirement, one.field) == ("model", ("one",), "SVM-15.5.1-C-002", "cr0")
    assert "NW is 1 while CD is 0" in one.expected and one.seen == {"one": "VMEXIT_CPUID", "two": "VMEXIT_INVALID"}


def test_a_legal_guest_that_was_refused() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID")
    (one,) = found(it, one=vmrun(it, exits.INVALID), two=vmrun(it, 0x72))
    assert (one.kind, one.expected) == ("model", "runs")


def test_an_intercept_that_was_passed_over() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID")
    (one,) = found(it, one=vmrun(it, exits.VMMCALL), two=vmrun(it, 0x72))
    assert (one.kind, one.engines, one.requirement) == ("exit", ("one",), "SVM-15.9-028")


@pytest.mark.parametrize(("bit", "kinds"), [(38, []), (3, ["exit", "exit"])])
def test_a_guest_whose_page_tables_are_elsewhere_need_not_come_to_its_instruction(bit: int, kinds: list[str]) -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID", twists=(Twist(field="cr3", mask=1 << bit, value=1 << bit),))
    assert [one.kind for one in found(it, one=vmrun(it, exits.SHUTDOWN), two=vmrun(it, exits.SHUTDOWN))] == kinds


def test_what_an_exit_must_not_write() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID")
    (one,) = found(it, one=vmrun(it, 0x72, guest_asid=2))
    assert (one.kind, one.requirement, one.field) == ("exit", "SVM-15.5.1-036", "guest_asid")


def test_engines_that_differ_where_the_model_leaves_it_open() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID")
    (one,) = found(
        it, one=vmrun(it, 0x72), two=vmrun(it, 0x72, rcx_is_not_a_field=0) if False else vmrun(it, 0x72, cr2=5)
    )
    assert (one.kind, one.field, one.seen) == ("differ", "cr2", {"one": "kept", "two": "changed"})


def test_a_machine_that_went_away_is_a_finding() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID")
    (one,) = found(it, one=None, two=vmrun(it, 0x72))
    assert (one.kind, one.engines, one.seen["one"]) == ("died", ("one",), "gone")


def test_engines_that_agree_with_the_model_are_no_finding() -> None:
    it = Specimen(mode=Mode.LONG, action="CPUID", twists=(NW,))
    assert not found(it, one=vmrun(it, exits.INVALID), two=vmrun(it, exits.INVALID))


# Making it small


def test_only_what_matters_is_left() -> None:
    """Of four changes, nested paging and a rare mode, one bit."""
    big = Specimen(
        mode=Mode.PAE,
        action="CPUID",
        nested=True,
        twists=(
            Twist(field="cr0", mask=1 << 29 | 1 << 40 | 1 << 18, value=1 << 29 | 1 << 18),
            Twist(field="tsc_offset", mask=(1 << 64) - 1, value=5),
            Twist(field="dr6", mask=7, value=7),
        ),
    )
    asked: list[Specimen] = []

    def compare(specimens: Sequence[Specimen]) -> Iterator[list[Finding]]:
        for it in specimens:
            asked.append(it)
            nw = any(t.field == "cr0" and t.value & 1 << 29 for t in it.twists)
            yield found(it, one=vmrun(it, it.expected)) if nw else []

    (first,) = compare([big])
    small = smallest(first[0], compare)
    assert small.specimen.twists == (NW,)
    assert (small.specimen.action, small.specimen.nested, small.specimen.mode) == ("VMMCALL", False, Mode.LONG)
    assert len(asked) < 60


# What is kept


def finding() -> Finding:
    it = Specimen(mode=Mode.LONG, action="CPUID", twists=(NW,), origin="seed 1, number 5")
    return found(it, one=vmrun(it, 0x72), two=vmrun(it, exits.INVALID))[0]


def test_a_folder_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "c", PLAN)
    folder.keep_chunk(Explored(chunk=3, specimens=4, findings=[finding()], counts={finding().cause: 2}))
    folder.keep(finding())
    again = Folder(tmp_path / "c", PLAN)
    assert list(again.done()) == [3] and list(again.findings()) == [finding().cause]
    assert new_causes(again.done()[3], again.findings()) == []
    assert "4 guests" in again.summarize() and "| 1 | 2 |" in again.summarize()
    with pytest.raises(SvmconfError, match="holds another campaign"):
        Folder(tmp_path / "c", PLAN.model_copy(update={"seed": 2}))


def test_a_report_tells_all_that_a_maintainer_needs() -> None:
    text = report.of(finding(), PLAN.on, PLAN.versions)
    assert text.startswith("# one: VMEXIT_CPUID where it should be: VMEXIT_INVALID: NW is 1 while CD is 0")
    for part in (
        "15.5.1",
        "| cr0 | 558h | 0x80000011 | 0xa0000011 |",
        "cpuid\nvmmcall",
        "seed 1, number 5",
        "--engine two",
    ):
        assert part in text, part


def test_a_script_shows_the_same_guest() -> None:
    """The guest that the script builds is the one that was found."""
    from harness.commands.lab import namespace

    class Nothing:
        def run(self, program: object) -> dict[str, object]:
            ran.append(program)
            return {}

        on = run

    ran: list[object] = []
    exec(compile(report.script(finding()), "reproduce.py", "exec"), namespace(Nothing()))  # type: ignore[arg-type]
    assert ran == [finding().specimen.program]


# Workers


def dies_once(marker: str) -> int:
    """Kill the worker that runs it, the first time."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 5


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path) -> None:
    with cluster(workers=2) as work:
        work.submit(dies_once, str(tmp_path / "died"))
        work.submit(abs, -7)
        results: list[object] = []
        while work.busy:
            results += work.take(30)
    assert sorted(results) == [5, 7]  # type: ignore[type-var]


def test_nobody_at_the_schedulers_address() -> None:
    with pytest.raises(SvmconfError, match="no Dask scheduler answers"), cluster("tcp://127.0.0.1:9"):
        pass


def test_a_short_campaign_on_real_engines(tmp_path: Path) -> None:
    """What a chunk gives is the same again, and all findings are small and confirmed."""
    names = ("qemu-system", "bochs-3.1")
    try:
        on = tuple(Where(engine=n, cpu=select.engine(n).default_cpus[0]) for n in names)
    except SvmconfError as error:
        pytest.skip(str(error))
    plan = Plan(seed=3, size=10, on=on, versions={n: select.engine(n).version for n in names})
    folder = Folder(tmp_path / "campaign", plan)
    probe = Image.load(build.probe())
    with cluster(workers=1) as work:
        campaign(work, folder, probe, 3)
    done = folder.done()
    assert done and explore(3, 0, 10, on) == done[0]
    assert all(one.shrunk for one in folder.findings().values())
    assert "on qemu-system" in folder.summarize()
