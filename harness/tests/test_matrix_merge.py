"""Ledgers put together: the sum closes, what is missing is named, and nothing that contradicts is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import ledger as ledgers
from harness.commands.matrix import command as matrix_command
from harness.commands.merge import command as merge_command
from harness.errors import SvmconfError
from harness.ledger import Ledger, Verdict
from harness.merge import Contradiction, apart, merge
from harness.shard import Shard
from harness.tests.ledgers import boot, engine, entry, ledger

CASES = [entry(f"test_{n}", "e") for n in range(20)]


def shard(index: int, count: int) -> Ledger:
    """A part of a run of all cases."""
    mine = [case for case in CASES if Shard(index, count).holds(case.case)]
    others = sorted({case.case for case in CASES} - {case.case for case in mine})
    return ledger(["e"], mine, run=f"part-{index}", elsewhere=others, shards=[f"{index}/{count}"])


def test_shards_make_the_whole() -> None:
    whole = merge([shard(n, 3) for n in (1, 2, 3)], "all")
    assert whole.entries == ledger(["e"], CASES).entries and whole.good
    assert whole.arithmetic() == "20 planned = 20 pass"
    assert whole.header.shards == ["1/3", "2/3", "3/3"] and whole.elsewhere == []


def test_a_missing_shard_is_named() -> None:
    whole = merge([shard(1, 3), shard(3, 3)], "all")
    lost = [one for one in whole.entries if one.verdict is Verdict.NOT_RUN]
    assert [one.case for one in lost] == shard(2, 3).planned and lost
    assert {one.reason for one in lost} == {"shard 2/3 is missing: nobody brought its ledger"}
    assert not whole.good and len(whole.planned) == 20
    late = merge([whole, shard(2, 3)], "late")
    assert late.good and late.arithmetic() == "20 planned = 20 pass"


def test_a_lost_case_knows_what_its_siblings_know() -> None:
    here = ledger(["e"], [entry("test_a", "e", cpu="EPYC")], elsewhere=[entry("test_a", "e", cpu="max").case],
                  shards=["1/2"])  # fmt: skip
    lost = next(one for one in merge([here], "all").entries if one.lost)
    assert (lost.cpu, lost.requirements, lost.claim) == ("max", ["SVM-15.4-001"], "Claim of test_a.")


def test_engines_of_several_machines() -> None:
    one = ledger([engine("e", cpus=["EPYC"])], [entry("test_a", "e")], machine="m1", unavailable={"f": "not fetched"})
    two = ledger([engine("f", cpus=["ryzen"])], [entry("test_a", "f")], machine="m2", unavailable={"g": "no mirror"})
    whole = merge([one, two], "all")
    assert [e.name for e in whole.header.engines] == ["e", "f"]
    assert whole.header.unavailable == {"g": "no mirror"} and whole.header.machine == "m1; m2"


def test_a_contradiction_is_refused_and_named() -> None:
    old = ledger(["e"], [entry("test_a", "e", Verdict.FAIL, "so", started=5.0)], run="old")
    new = ledger(["e"], [entry("test_a", "e", started=9.0)], run="new")
    with pytest.raises(Contradiction, match=r"test_a\[e:EPYC\]: fail in old, pass in new") as caught:
        merge([old, new], "all")
    assert "--prefer newest" in caught.value.hint
    for order in ([old, new], [new, old]):
        assert merge(order, "all", newest=True).entries == new.entries


def test_the_same_verdict_twice_is_no_contradiction() -> None:
    both = [ledger(["e"], [entry("test_a", "e", started=started)]) for started in (5.0, 9.0)]
    (kept,) = merge(both, "all").entries
    assert kept.started == 9.0


def test_a_real_verdict_beats_a_lost_one_however_late() -> None:
    real = ledger(["e"], [entry("test_a", "e", Verdict.FAIL, "so")])
    lost = ledger(["e"], [ledgers.lost_entry(real.entries[0].case, real.header)])
    assert merge([real, lost], "all").entries == real.entries == merge([lost, real], "all").entries


def test_evidence_stays_with_what_it_was_evidence_for() -> None:
    """Two shards boot the same thing: the id is the same, what was seen need not be."""
    parts = [
        ledger(["e"], [entry(f"test_{n}", "e", evidence="boot")], [boot("boot", "e", console=f"run {n}")])
        for n in range(2)
    ]
    whole = merge(parts, "all")
    consoles = []
    for one in whole.entries:
        seen = whole.evidence[one.evidence].observation
        consoles.append(seen.console if seen else "")
        assert whole.evidence[one.evidence].id == one.evidence
    assert consoles == ["run 0", "run 1"]
    assert len(merge([parts[0], parts[0]], "all").evidence) == 1


@pytest.mark.parametrize("what", ["hypervisor", "defect"])
def test_other_software_under_test_is_refused(what: str) -> None:
    with pytest.raises(Contradiction, match=f"different {what}s"):
        other = ledger(["e"], [])
        header = other.header.model_copy(update={what: "other"})
        merge([ledger(["e"], []), other.model_copy(update={"header": header})], "all")


def two_versions() -> list[Ledger]:
    return [
        ledger([engine("e", "7.2 (a)")], [entry("test_a", "e")]),
        ledger([engine("e", "8.0 (b)")], [entry("test_a", "e", Verdict.FAIL, "so")]),
    ]


def test_two_versions_under_one_name_are_two_engines() -> None:
    with pytest.raises(Contradiction, match=r"e is 7\.2 \(a\) in one run and 8\.0 \(b\) in r"):
        merge(two_versions(), "all")
    whole = merge(apart(two_versions()), "all")
    assert [e.engine for e in whole.entries] == ["e@7.2", "e@8.0"]
    assert [e.case for e in whole.entries] == whole.planned and "[e@8.0:EPYC]" in whole.planned[1]
    assert apart(two_versions()[:1]) == two_versions()[:1]


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
        ("Linux 6.12.107-1 (kvm_amd) in QEMU 10.0.13", "6.12.107-1"),
        ("", ""),
        ("own build", "own build"),
    ],
)
def test_a_version_s_number(version: str, number: str) -> None:
    assert ledgers.number(version) == number


def put(part: Ledger, folder: Path) -> str:
    folder.mkdir()
    ledgers.settle(part, folder)
    return str(folder)


def test_what_is_merged_can_be_read_again(tmp_path: Path) -> None:
    folders = [put(shard(n, 2), tmp_path / f"{n}") for n in (1, 2)]
    first, second = (ledgers.of(Path(folder)) for folder in folders)
    assert first.elsewhere == second.planned and first.arithmetic().endswith("more in other shards)")


def test_command(tmp_path: Path) -> None:
    parts = [put(shard(n, 2), tmp_path / f"{n}") for n in (1, 2)]
    out = tmp_path / "all"
    done = CliRunner().invoke(merge_command, [*parts, "--out", str(out), "--no-allure"])
    assert done.exit_code == 0 and "20 planned = 20 pass" in done.output
    assert ledgers.of(out).good and (out / "summary.html").exists()
    assert not (tmp_path / "latest").exists()
    done = CliRunner().invoke(merge_command, [parts[0], "--out", str(tmp_path / "part"), "--no-allure"])
    assert done.exit_code == 1 and "shard 2/2 is missing" in done.output


def test_matrix_of_several_ledgers(tmp_path: Path) -> None:
    parts = [put(part, tmp_path / f"{n}") for n, part in enumerate(two_versions())]
    arguments = [word for part in parts for word in ("--ledger", part)]
    done = CliRunner().invoke(matrix_command, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 1 and "fail on e@8.0 (odd): so" in done.output
    assert len(list((tmp_path / "out").glob("matrix-*/matrix.html"))) == 1


def test_a_place_without_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(SvmconfError, match="holds no ledger"):
        ledgers.of(tmp_path)
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(SvmconfError, match="is no ledger"):
        ledgers.header(tmp_path / "x.jsonl")
