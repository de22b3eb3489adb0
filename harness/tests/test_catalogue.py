from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import paths
from harness.errors import SvmconfError
from harness.spec import catalogue

GOOD = {
    "id": '"SVM-15.5.1-001"',
    "sections": '{ "3.44" = "15.5.1" }',
    "title": '"VMRUN Instruction: Basic Operation"',
    "statement": '"VMRUN does it."',
    "kind": '"platform"',
    "priority": '"must"',
    "observable": '"it is seen"',
    "status": '"planned"',
    "verified": '"text+code"',
}
Load = Callable[..., dict[str, catalogue.Requirement]]


def entry(**changes: str | None) -> str:
    fields = {**GOOD, **changes}
    return "\n".join(["[[requirement]]", *(f"{key} = {value}" for key, value in fields.items() if value is not None)])


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(*entries: str, name: str = "15.5.toml") -> dict[str, catalogue.Requirement]:
        (tmp_path / name).write_text("\n".join(entries))
        return catalogue.load(tmp_path)

    return load


def test_the_catalogue_of_the_project_is_good() -> None:
    assert len(catalogue.load()) > 600


def test_a_good_entry(load: Load) -> None:
    (requirement,) = load(entry(feature_gate='"Fn8000_0001_ECX[2]"')).values()
    assert requirement.feature_gate.names == "SVM"
    assert requirement.model_dump()["feature_gate"] == "Fn8000_0001_ECX[2]"
    assert requirement.heading == "15.5.1 VMRUN Instruction: Basic Operation"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": '"SVM-15.5.1-1"'}, "id: String should match"),
        ({"id": '"15.5.1-001"'}, "id: String should match"),
        ({"colour": '"red"'}, "colour: Extra inputs are not permitted"),
        ({"status": None}, "status: Field required"),
        ({"status": '"done"'}, "status: Input should be 'covered', 'planned' or 'untestable'"),
        ({"status": '"untestable"'}, "a reason goes with the status untestable"),
        ({"reason": '"since"'}, "a reason goes with the status untestable"),
        ({"statement": '""'}, "statement: String should have at least 1 character"),
        ({"sections": "{}"}, "sections: Dictionary should have at least 1 item"),
        ({"sections": '{ "3.44" = "15.05" }'}, "sections.3.44: String should match"),
        ({"sections": '{ "3.44" = "15.6" }'}, "section 15.6 is not part of 15.5"),
        ({"feature_gate": '"SVM"'}, "feature_gate: 'SVM' names no CPUID bit"),
        ({"feature_gate": '"Fn8000_000A_EDX[9]"'}, "feature_gate: Fn8000_000A_EDX[9] has no name"),
    ],
)
def test_a_wrong_entry_is_named_in_one_line(load: Load, changes: dict[str, str | None], says: str) -> None:
    with pytest.raises(SvmconfError) as caught:
        load(entry(**changes))
    assert says in caught.value.what and "\n" not in caught.value.what


def test_an_id_stands_once(load: Load) -> None:
    with pytest.raises(SvmconfError, match=r"15\.5\.toml: SVM-15\.5\.1-001 stands twice"):
        load(entry(), entry())


def test_a_dropped_id_is_never_given_again(load: Load) -> None:
    gone = '[[dropped]]\nid = "SVM-15.5.1-001"\nreason = "it is none"'
    with pytest.raises(SvmconfError, match="stands twice"):
        load(gone, entry())


def test_neighbours_share_their_title(load: Load) -> None:
    with pytest.raises(SvmconfError, match=r"SVM-15\.5\.1-002: its neighbours have the title"):
        load(entry(), entry(id='"SVM-15.5.1-002"', title='"Another"'))
    assert load(entry(), entry(id='"SVM-15.5.1-C-002"', title='"Another"'))


def test_a_file_holds_nothing_else(load: Load) -> None:
    with pytest.raises(SvmconfError, match="unknown key schema"):
        load("schema = 1", entry())
    with pytest.raises(SvmconfError, match="is not TOML"):
        load("[[requirement")


def test_a_section_moves_with_the_newest_revision(load: Load) -> None:
    (requirement,) = load(entry(sections='{ "3.44" = "15.6", "3.45" = "15.5.1" }')).values()
    assert requirement.section == "15.5.1" and requirement.within("15.5") and not requirement.within("15.50")


def test_the_order_is_the_manuals() -> None:
    ordered = [r.section for r in sorted(catalogue.load().values(), key=lambda r: r.order)]
    sections = list(dict.fromkeys(ordered))
    assert sections.index("15.9") < sections.index("15.10") < sections.index("15.12.2") < sections.index("15.12.10")
    assert sections[-4:] == ["B", "C", "CPUID", "V3"]
    assert len(sections) == len(set(ordered)), "a section is torn"


@pytest.mark.parametrize("name", ["SVM-15.5.1-002", "15.5.1-002", "svm-15.5.1-2", "15.5.1-02"])
def test_a_requirement_is_found(name: str) -> None:
    assert catalogue.find(name).id == "SVM-15.5.1-002"


def test_a_wrong_id_gets_near_matches() -> None:
    with pytest.raises(SvmconfError, match=r"no requirement SVM-15\.5\.1-0002 \(did you mean .*SVM-15\.5\.1-002"):
        catalogue.find("SVM-15.5.1-0002")
    with pytest.raises(SvmconfError, match="looks for words"):
        catalogue.find("nonsense")


def test_ids_named_elsewhere_are_in_the_catalogue() -> None:
    """Our hypervisor names the rule that a refused VMRUN broke; documents and comments name requirements, too."""
    known = {*catalogue.load(), *catalogue.dropped()}
    names = subprocess.run(["git", "ls-files", "*.rs", "*.md", "*.asm", "*.inc", "hypervisor/*.toml"], cwd=paths.ROOT,
                           capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    pattern = re.compile(r"SVM-(?:15(?:\.\d+){1,2}|B|C|V3|CPUID)(?:-[CF])?-\d{3}\b")
    named = {id: name for name in names for id in pattern.findall((paths.ROOT / name).read_text())}
    assert len(named) > 50
    assert not {id: name for id, name in named.items() if id not in known}


@pytest.mark.parametrize("section", ["15.4", "15.5", "15.30"])
def test_what_the_first_sections_leave_out_has_a_reason(section: str) -> None:
    for one in catalogue.load().values():
        if one.within(section) and one.status == "planned":
            assert "Not covered yet:" in one.note or "Not covered yet, for" in one.note, one.id
