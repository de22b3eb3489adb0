from __future__ import annotations

import datetime
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import paths
from harness.errors import SvmconfError
from harness.ledger import EngineLine, Entry, Header, Ledger, Verdict
from harness.spec import expectations, rewrite
from harness.spec.expectations import MENDED

CASE, OTHER = "test_unaligned_address_is_gp", "test_asid_0_is_invalid"
FILE = f"""\
# QEMU, as it was seen.

[[deviation]]
requirement = "SVM-15.5.1-004"
case = "{CASE}"
observed = "it runs"  # and runs
cause = "helper_vmrun() does not look"
upstream = "not reported"
date = 2026-01-01

# The next group.

[[deviation]]
requirement = "SVM-15.5.1-C-022"
case = "{OTHER}"
observed = "it runs"
cause = "helper_vmrun() does not look"
upstream = "not reported"
date = 2026-01-01
"""
OLD, NEW = "qemu-7.2 7.2.22", "qemu-11.1 11.1.3"
PASSES, FAILS, KNOWN = (Verdict.PASS, ""), (Verdict.FAIL, "rax is 5, not 4"), (Verdict.EXPECTED_FAIL, "known")
SHOWS_NOT = (Verdict.FAIL, f"{MENDED}: [XPASS(strict)]")
Said = dict[tuple[str, str, str, str], tuple[Verdict, str]]
"""Case, engine with its version, CPU model and variant, to verdict and reason."""


def ledger(said: Said, **header: str) -> Ledger:
    engines, entries = {}, []
    for (case, on, cpu, variant), (verdict, reason) in said.items():
        name, _, version = on.partition(" ")
        engines[name] = EngineLine(name=name, version=version, family=name.partition("-")[0], cpus=[cpu])
        place = f"conformance/x/test_x.py::{case}"
        entries.append(
            Entry(
                case=f"{place}[{on}:{cpu}:{variant}]", function=place,
                claim="", source="", requirements=["SVM-15.5.1-004" if case == CASE else "SVM-15.5.1-C-022"],
                engine=name, engine_version=version, cpu=cpu, variant=variant, verdict=verdict, reason=reason,
                started=0, seconds=0,
            )
        )  # fmt: skip
    of = {"run": "r", "started": "", "hypervisor": "svmconf"} | header
    head = Header(command=[], engines=list(engines.values()), **of)
    return Ledger(header=head, planned=[e.case for e in entries], evidence={}, entries=entries)


Update = Callable[[Said], list[str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "qemu.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def update(file: Path) -> Update:
    return lambda said: [str(change) for change in rewrite.update(ledger(said), file.parent)]


def first(path: Path) -> dict[str, object]:
    entry: dict[str, object] = tomllib.loads(path.read_text())["deviation"][0]
    return entry


def test_nothing_changes_where_all_is_as_expected(update: Update, file: Path) -> None:
    assert update({(CASE, OLD, "EPYC", ""): KNOWN, (OTHER, OLD, "EPYC", ""): (Verdict.SKIP, "no such CPU")}) == []
    assert file.read_text() == FILE


def test_the_project_s_own_file_reads_back_as_it_is() -> None:
    path = paths.EXPECTATIONS / "qemu.toml"
    kept = list(expectations.read(path))
    assert rewrite._edited(path.read_text(), [*kept], []) == path.read_text()


def test_what_is_mended_in_a_version_is_narrowed(update: Update, file: Path) -> None:
    changes = update({(CASE, OLD, "EPYC", ""): KNOWN, (CASE, NEW, "EPYC", ""): SHOWS_NOT})
    assert changes == [
        f"qemu.toml: SVM-15.5.1-004 {CASE}: narrowed to before 11.1.3: it passes on qemu-11.1 11.1.3 (EPYC)"
    ]
    assert file.read_text() == FILE.replace(f'"{CASE}"\n', f'"{CASE}"\nversions = "before 11.1.3"\n')


def test_a_condition_that_there_is_is_replaced(update: Update, file: Path) -> None:
    file.write_text(FILE.replace(f'"{CASE}"\n', f'"{CASE}"\nversions = "from 7"\n'))
    update({(CASE, OLD, "EPYC", ""): KNOWN, (CASE, NEW, "EPYC", ""): SHOWS_NOT})
    assert first(file)["versions"] == "from 7 before 11.1.3"
    assert file.read_text().count("versions") == 1


def test_what_is_left_of_nothing_is_removed_and_the_comments_stay(update: Update, file: Path) -> None:
    file.write_text(FILE.replace(f'"{CASE}"\n', f'"{CASE}"\nversions = "11.1"\n'))
    before, _, rest = FILE.partition("[[deviation]]")
    assert update({(CASE, "qemu-11.1 11.1.0", "EPYC", ""): SHOWS_NOT}) == [
        f"qemu.toml: SVM-15.5.1-004 {CASE}: removed: it passes on qemu-11.1 11.1.0 (EPYC)"
    ]
    assert file.read_text() == before + rest[rest.index("# The next group.") :]


def test_what_passes_on_some_cpu_models_is_narrowed(update: Update, file: Path) -> None:
    update({(CASE, OLD, "EPYC", ""): KNOWN, (CASE, OLD, "EPYC,-npt", ""): KNOWN, (CASE, OLD, "max", ""): SHOWS_NOT})
    assert first(file)["cpus"] == ["EPYC", "EPYC,-npt"]


def test_what_passes_in_some_variants_is_narrowed(update: Update, file: Path) -> None:
    update({(CASE, OLD, cpu, v): KNOWN if v == "[9]" else SHOWS_NOT for cpu in ("EPYC", "max") for v in ("[9]", "[2]")})
    assert first(file)["variants"] == ["[[]9]"]
    (it, _) = expectations.read(file)
    assert it.applies(CASE, "7.2", "max", "[9]") and not it.applies(CASE, "7.2", "max", "[2]")


def test_what_no_condition_tells_is_left_to_people(update: Update, file: Path) -> None:
    said = {(CASE, OLD, "EPYC", "a"): KNOWN, (CASE, OLD, "EPYC", "b"): SHOWS_NOT}
    said |= {(CASE, OLD, "max", "a"): SHOWS_NOT, (CASE, OLD, "max", "b"): KNOWN}
    (change,) = update(said)
    assert (
        "not narrowed: it passes on qemu-7.2 7.2.22 (EPYC b, max a), and fails on qemu-7.2 7.2.22 (EPYC a, max b)"
        in change
    )
    assert file.read_text() == FILE


def test_what_fails_and_passes_elsewhere_is_added_and_not_understood(update: Update, file: Path) -> None:
    bochs = "bochs-3.1 3.1"
    (change,) = update(
        {(OTHER, bochs, "ryzen", ""): FAILS, (OTHER, NEW, "EPYC", ""): KNOWN, (CASE, bochs, "ryzen", ""): PASSES}
    )
    assert change.endswith("not added: it fails on bochs-3.1 3.1 (ryzen), and passes nowhere")
    assert not (file.parent / "bochs.toml").exists(), "it passed nowhere"
    (change,) = update({(OTHER, bochs, "ryzen", ""): FAILS, (OTHER, "kvm-6.1 6.1.9", "host", ""): PASSES})
    assert change == f"bochs.toml: SVM-15.5.1-C-022 {OTHER}: added for 3.1, its cause is to be understood"
    assert first(file.parent / "bochs.toml") == {
        "requirement": "SVM-15.5.1-C-022",
        "case": OTHER,
        "versions": "3.1",
        "observed": "rax is 5, not 4",
        "cause": expectations.TODO,
        "upstream": "not reported",
        "date": datetime.date.today(),
    }
    assert [line for line in expectations.complaints(file.parent) if "not understood" in line]
    assert file.read_text() == FILE


def test_an_added_entry_says_where(update: Update, file: Path) -> None:
    bochs = [f"bochs-{v} {v}" for v in ("2.6", "2.7", "3.0", "3.1")]
    fails = {(OTHER, on, cpu, ""): FAILS for on in bochs[1:3] for cpu in ("zambezi",)}
    good = {(OTHER, on, "zambezi", ""): PASSES for on in (bochs[0], bochs[3])}
    good |= {(OTHER, on, "ryzen", ""): PASSES for on in bochs}
    update({**fails, **good})
    (it,) = expectations.read(file.parent / "bochs.toml")
    assert (str(it.versions), it.cpus) == ("from 2.7 before 3.1", ("zambezi",))


def test_an_added_entry_is_split_where_one_cannot_say_it(update: Update, file: Path) -> None:
    on = "bochs-3.1 3.1"
    update({
        (OTHER, on, "ryzen", "a"): FAILS, (OTHER, on, "ryzen", "b"): PASSES,
        (OTHER, on, "zambezi", "a"): PASSES, (OTHER, on, "zambezi", "b"): FAILS,
    })  # fmt: skip
    found = [(it.cpus, it.variants) for it in expectations.read(file.parent / "bochs.toml")]
    assert found == [(("ryzen",), ("a",)), (("zambezi",), ("b",))]


def test_a_second_update_changes_nothing(update: Update, file: Path) -> None:
    said = {(OTHER, "bochs-3.1 3.1", "ryzen", ""): FAILS, (OTHER, "kvm-6.1 6.1.9", "host", ""): PASSES}
    assert update(said) and not update(said)


def test_dry(file: Path) -> None:
    said: Said = {(CASE, NEW, "EPYC", ""): SHOWS_NOT}
    assert rewrite.update(ledger(said), file.parent, write=False)
    assert file.read_text() == FILE


def test_what_is_stale(file: Path) -> None:
    said = {(CASE, OLD, "EPYC", ""): KNOWN, (CASE, NEW, "EPYC", ""): SHOWS_NOT, (OTHER, OLD, "EPYC", ""): KNOWN}
    assert rewrite.stale(ledger(said), file.parent) == [
        f"qemu.toml: SVM-15.5.1-004 {CASE}: it passes on qemu-11.1 11.1.3 (EPYC)"
    ]


def test_what_shows_in_two_ways(file: Path) -> None:
    it = ledger({(CASE, OLD, "EPYC", ""): KNOWN, (CASE, NEW, "EPYC", ""): KNOWN, (OTHER, OLD, "EPYC", ""): KNOWN})
    ways = ("rax is 5, not 4", "step 3 never ended: the machine hung", "step 1 never ended: the machine hung")
    found = [entry.model_copy(update={"found": way}) for entry, way in zip(it.entries, ways, strict=True)]
    told = Ledger(header=it.header, planned=it.planned, evidence={}, entries=found)
    assert rewrite.two_ways(told, file.parent) == [
        f"qemu.toml: SVM-15.5.1-004 {CASE}: it hangs on qemu-11.1 11.1.3 (EPYC), and not elsewhere"
    ]
    file.write_text(FILE.replace(f'case = "{CASE}"', f'case = "{CASE}"\nby_chance = true'))
    assert not rewrite.two_ways(told, file.parent)


@pytest.mark.parametrize("header", [{"defect": "vendor-unchecked"}, {"hypervisor": "foreign"}])
def test_only_our_own_sound_hypervisor_is_a_witness(file: Path, header: dict[str, str]) -> None:
    with pytest.raises(SvmconfError, match="need not be the engine's doing"):
        rewrite.update(ledger({(CASE, OLD, "EPYC", ""): FAILS}, **header), file.parent)
