"""Two engines side by side, from hand-made ledgers."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness import ledger as ledgers
from harness.boot import Insn
from harness.commands.diff import command
from harness.errors import SvmconfError
from harness.ledger import Entry, Evidence, Verdict
from harness.machine.ending import Ending, How
from harness.msr import Msr
from harness.observation import Tried
from harness.report.diff import Diff, compare, side
from harness.tests.ledgers import boot, engine, entry, event, ledger, program, step

FAIL, KNOWN = Verdict.FAIL, Verdict.EXPECTED_FAIL


def of(entries: list[Entry], evidence: list[Evidence] = [], values: bool = False) -> Diff:  # noqa: B006
    """Engine ``a`` compared with engine ``b``."""
    made = ledger(["a", "b"], entries, evidence)
    return compare(side(made, "a"), side(made, "b"), values=values)


def lines(left: Evidence, right: Evidence, values: bool = False) -> list[tuple[str, str, str]]:
    """What differs between two observations of one case that passed on both."""
    found = of([entry("t", "a", evidence=left.id), entry("t", "b", evidence=right.id)], [left, right], values)
    return [(line.what, line.left, line.right) for one in found.differences for line in one.lines]


def test_the_same_is_no_difference() -> None:
    found = of([entry("t", "a"), entry("t", "b")])
    assert found.differences == () and found.compared == 1 and found.alone == (0, 0)


def test_verdicts_and_their_reasons() -> None:
    found = of([entry("t", "a"), entry("t", "b", FAIL, "vector 13\nmore")])
    (one,) = found.differences
    assert (one.left.verdict, one.right.verdict) == (Verdict.PASS, FAIL)
    assert of([entry("t", "a", FAIL, "vector 6"), entry("t", "b", FAIL, "vector 13")]).differences
    assert not of([entry("t", "a", KNOWN, "x: so (c; l)"), entry("t", "b", KNOWN, "x: so (d; m)")]).differences


def test_a_skip_is_counted_and_no_difference() -> None:
    found = of([entry("t", "a"), entry("t", "b", Verdict.SKIP, "no LBR"), entry("u", "a"), entry("u", "b")])
    assert (found.differences, found.compared, found.skipped) == ((), 1, 1)


def test_cpu_models_that_show_the_same_are_put_together() -> None:
    entries = [entry("t", name, cpu=cpu) for name in "a" for cpu in ("EPYC", "qemu64")]
    entries += [entry("t", "b", FAIL, "so", cpu=cpu) for cpu in ("EPYC", "qemu64")]
    (one,) = of(entries).differences
    assert one.settings == ("EPYC", "qemu64")


def test_engines_without_a_common_cpu_model() -> None:
    """The n-th of one is compared with the n-th of the other; what is left over is counted."""
    entries = [entry("t", "a", cpu=cpu) for cpu in ("EPYC", "qemu64", "max")]
    entries += [entry("t", "b", FAIL, "so", cpu=cpu) for cpu in ("ryzen", "phenom")]
    lines = [engine("a", cpus=["EPYC", "qemu64", "max"]), engine("b", cpus=["ryzen", "phenom"])]
    made = ledger(lines, entries)
    found = compare(side(made, "a"), side(made, "b"))
    assert found.differences[0].settings == ("EPYC | ryzen", "qemu64 | phenom")
    assert found.compared == 2 and found.alone == (1, 0)


def test_steps_of_a_program() -> None:
    here, there = program("p", "a", step(13), step()), program("q", "b", step(), step(6))
    assert lines(here, there) == [
        ("step 0: vmrun at CPL 0", "vector 13 error 0x0 at +0x0", "ran"),
        ("step 1: clgi at CPL 0", "ran", "vector 6 error 0x0 at +0x0"),
    ]


def test_a_step_that_never_ended() -> None:
    assert lines(program("p", "a", step(), step()), program("q", "b", step())) == [
        ("step 1: clgi at CPL 0", "ran", "did not end")
    ]


def test_values_are_told_only_when_asked_for_or_when_more_differs() -> None:
    here, there = program("p", "a", step(rax=1), step()), program("q", "b", step(rax=2), step())
    assert lines(here, there) == []
    assert lines(here, there, values=True) == [("step 0 rax", "0x1", "0x2")]
    more = program("q", "b", step(rax=2), step(6))
    assert ("step 0 rax", "0x1", "0x2") in lines(here, more)


def test_ending_and_outcome_of_a_boot() -> None:
    here = boot("p", "a", outcome="ready")
    there = boot("q", "b", ended=Ending(how=How.TRIPLE_FAULT))
    assert lines(here, there) == [("ended", "exited 16", "triple fault None"), ("outcome", "ready", "(nothing)")]


READ = event(Insn.RDMSR, "f+0x1", before={"rcx": Msr.VM_CR, "rip": 0x100})
FAULTED = event(Insn.RDMSR, "f+0x1", before={"rcx": Msr.VM_CR, "rip": 0x100}, after={"rip": 0x900})
WRITTEN = event(Insn.WRMSR, "f+0x9", before={"rcx": Msr.EFER, "rip": 0x108})


def test_instructions_of_a_boot() -> None:
    """One that faulted, one that is missing; the same ones are aligned."""
    found = lines(boot("p", "a", trace=[READ, WRITTEN]), boot("q", "b", trace=[FAULTED]))
    assert [what for what, *_ in found] == ["executed", "executed"]
    assert "went to 0x900" in found[0][2] and "wrmsr" in found[1][1] and found[1][2] == "(nothing)"


def test_what_an_msr_returned_is_a_value() -> None:
    other = event(Insn.RDMSR, "f+0x1", before={"rcx": Msr.VM_CR, "rip": 0x100}, after={"rax": 0x10})
    here, there = boot("p", "a", trace=[READ]), boot("q", "b", trace=[other])
    assert lines(here, there) == []
    assert len(lines(here, there, values=True)) == 1


def test_exit_codes_of_a_guest() -> None:
    def vmrun(code: int) -> object:
        after = bytes(0x70) + code.to_bytes(8, "little") + bytes(0x1000 - 0x78)
        return event(Insn.VMRUN, vmcb=bytes(0x1000), vmcb_after=after)

    ((_, left, right),) = lines(boot("p", "a", trace=[vmrun(0x81)]), boot("q", "b", trace=[vmrun(0x7F)]))
    assert "#VMEXIT 0x81" in left and "#VMEXIT 0x7f" in right


def test_behind_the_place_where_watching_ended_nothing_is_compared() -> None:
    here = boot("p", "a", trace=[READ, WRITTEN], trace_cut=["rdmsr at f+0x1 after 64 times"], trace_whole=1)
    assert lines(here, boot("q", "b", trace=[READ], trace_whole=1)) == []


def test_another_image_has_its_instructions_elsewhere() -> None:
    moved = READ.model_copy(update={"where": "g+0x7"})
    here = boot("p", "a", trace=[READ])
    assert lines(here, boot("q", "b", trace=[moved]))
    assert lines(here, boot("q", "b", trace=[moved], image_sha256="1" * 64)) == []


def test_what_a_guest_tried() -> None:
    here, there = (boot(id, e, witness={"VMRUN": Tried(vector=v, error=0, value=0)}) for id, e, v in
                   (("p", "a", 6), ("q", "b", 13)))  # fmt: skip
    assert lines(here, there, values=True) == [("guest: VMRUN", "vector 6 error 0x0, 0x0", "vector 13 error 0x0, 0x0")]


def test_an_engine_that_is_not_there() -> None:
    made = ledger(["a"], [], unavailable={"b": "not fetched"})
    with pytest.raises(SvmconfError, match="b is not in r: not fetched"):
        side(made, "b")
    with pytest.raises(SvmconfError, match="c is not in r"):
        side(made, "c")


# The command


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three runs; the second is the latest that holds both."""
    older = ledger(["a", "b"], [entry("t", "a"), entry("t", "b")], started="2026-01-01T00:00:00Z")
    later = ledger(["a", "b"], [entry("t", "a"), entry("t", "b", FAIL, "so"), entry("u", "a"), entry("u", "b")],
                   started="2026-01-02T00:00:00Z")  # fmt: skip
    single = ledger(["a"], [entry("t", "a", FAIL, "else")], run="single", started="2026-01-03T00:00:00Z")
    for name, part in {"z-older": older, "a-later": later, "single": single}.items():
        (tmp_path / name).mkdir()
        ledgers.settle(part, tmp_path / name)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ledger.jsonl").write_text("no ledger\n")
    return tmp_path


def diff(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, env={"COLUMNS": "120"})


def test_the_latest_run_that_holds_both(out: Path) -> None:
    done = diff("a", "b", f"--out={out}")
    assert done.exit_code == 1 and "2 compared: 1 differ" in done.output and "fail: so" in done.output


def test_same_is_status_0(out: Path) -> None:
    done = diff("a", "b", f"--out={out}", "-k", "test_x and u")
    assert done.exit_code == 0 and "1 compared: none differ" in done.output
    assert diff("a", "b", f"--out={out}", f"--ledger={out / 'z-older'}").exit_code == 0


@pytest.mark.parametrize("expression", ["SVM-15.4-001 and t", "not u"])
def test_k_is_pytest_s(out: Path, expression: str) -> None:
    assert diff("a", "b", f"--out={out}", "-k", expression).exit_code == 1


def test_two_ledgers(out: Path) -> None:
    done = diff(f"{out}/single", f"{out}/a-later:b")
    assert done.exit_code == 1 and "fail: else" in done.output and "a in single" in done.output


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (("a", "c"), "holds a and c", "--run"),
        (("a", "b", "-k", "nothing"), "no case of both matches", ""),
        (("a", "b", "-k", "not ("), "-k 'not ('", ""),
        (("OUT/a-later", "OUT/single"), "holds 2 engines", "a-later:a"),
        (("OUT/single", "b"), "b is no ledger", "two ledgers"),
    ],
)
def test_mistakes(out: Path, arguments: tuple[str, ...], says: str, hint: str) -> None:
    done = diff(*(each.replace("OUT", str(out)) for each in arguments), f"--out={out}")
    assert isinstance(done.exception, SvmconfError)
    assert says in done.exception.what and hint in done.exception.hint


def test_a_whole_ledger_has_no_differences_from_itself() -> None:
    made = ledger(["a"], [entry("t", "a", evidence="p")], [program("p", "a", step(13, rax=1))])
    assert not compare(side(made, "a"), side(made, "a"), values=True).differences
