"""What the suite's cases claim to check, held against the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import SvmconfError
from harness.spec import catalogue
from harness.suite import cases

SUITE = paths.ROOT / "conformance"


@dataclass(frozen=True)
class Case:
    """One case: its id without what stands in brackets, the line where it begins, what it says that it checks."""

    id: str
    line: int
    claim: str
    requirements: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its function's name."""
        return self.id.rpartition("::")[2]

    @property
    def source(self) -> str:
        """``file:line``, from the checkout's root."""
        return f"{self.id.partition('::')[0]}:{self.line}"

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Case:
        """The case that a decorated function is."""
        code = function.__code__
        marks = getattr(function, "pytestmark", ())
        return cls(
            id=f"{Path(code.co_filename).relative_to(paths.ROOT)}::{function.__name__}",
            line=code.co_firstlineno,
            claim=(function.__doc__ or "").strip().partition("\n")[0],
            requirements=tuple(dict.fromkeys(r for m in marks if m.name == "requirement" for r in m.args)),
        )


@cache
def suite() -> tuple[Case, ...]:
    """Every case of the suite, sorted by id; raise :class:`SvmconfError` when a file of it cannot be imported."""
    try:
        functions = [function for mark in ("boots", "executes") for _, function, _ in cases(mark)]
    except Exception as error:
        raise SvmconfError(
            f"the suite cannot be imported: {type(error).__name__}: {error}",
            "pytest conformance --collect-only tells more",
        ) from error
    return tuple(sorted({Case.of(function) for function in functions}, key=lambda case: case.id))


def by_requirement() -> dict[str, list[Case]]:
    """The suite's cases by the requirements that they name."""
    found: dict[str, list[Case]] = {}
    for case in suite():
        for name in case.requirements:
            found.setdefault(name, []).append(case)
    return found


def complaints(
    named: Mapping[str, Collection[str]], known: Mapping[str, catalogue.Requirement], *, whole: bool
) -> list[str]:
    """What is wrong between cases (id to the requirements it names) and the catalogue, a line each.

    :param whole: these are all the cases there are, so what is covered must be among what they name.
    """
    wrong = []
    for case, names in named.items():
        if not names:
            wrong.append(f"{case} checks no requirement: give it @requirement(...)")
        for name in names:
            if name not in known:
                wrong.append(f"{case}: the catalogue has no requirement {name}")
            elif known[name].status != "covered":
                wrong.append(
                    f"{case} checks {name}, whose status is {known[name].status!r}: "
                    "svmconf coverage --update makes it 'covered'"
                )
    if whole:
        used = {name for names in named.values() for name in names}
        wrong += [
            f"{name} is marked as covered, and no case names it: cover it, or change its status"
            for name, requirement in known.items()
            if requirement.status == "covered" and name not in used
        ]
    return wrong


def is_whole(files: Iterable[Path], arguments: Iterable[str]) -> bool:
    """Whether pytest, given these arguments, collected all of the suite, going by the files that cases came from."""
    return set(SUITE.glob("*/test_*.py")) <= set(files) and not any("::" in argument for argument in arguments)
