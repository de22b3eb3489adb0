"""How a case says what it checks and what shall boot.

::

    @requirement("SVM-15.4-001")
    @boots(cpus=Cpus.WITHOUT_SVM)
    def test_refused_by_name(seen: Observation) -> None:
        \"\"\"Without Fn8000_0001_ECX[SVM] the hypervisor refuses, and says that this is why.\"\"\"
        assert seen.outcome == "refused.no-svm"

The plugin boots what ``@boots`` asks for, on each engine and CPU model chosen on the command line, and hands the
observation in. A case only judges: it never sees the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import pytest

from harness.boot import Boot
from harness.lab.program import Program

Case = TypeVar("Case", bound=Callable[..., None])


class NotRun(Exception):
    """What a case judges was not reached, for a reason that another case judges. Neither pass nor fail."""


class Absent(Exception):
    """The processor lacks a feature that the requirement is about; the message names the CPUID bit. A skip."""


class Cpus(Enum):
    """On which CPU models a case makes sense."""

    WITH_SVM = "the chosen models that have SVM"
    WITH_NPT = "the chosen models that have SVM with nested paging"
    WITHOUT_SVM = "AMD models without SVM, by nature or by -svm"
    FOREIGN = "models of vendors that never had SVM"
    CHOSEN = "the chosen models, whatever they have"
    FULLEST = "the chosen models that have SVM; where none were chosen the one that has most of what SVM offers"


@dataclass(frozen=True)
class Boots:
    """The plain data behind ``@boots``."""

    variants: tuple[Boot, ...]
    cpus: Cpus
    guest_runs: bool
    outcomes: tuple[str, ...]


@dataclass(frozen=True)
class Executes:
    """The plain data behind ``@executes``."""

    variants: tuple[tuple[str, Program], ...]
    cpus: Cpus


def requirement(*ids: str) -> Callable[[Case], Case]:
    """Which requirements of the catalogue the case checks."""
    return _mark(pytest.mark.requirement(*ids))


def boots(
    *variants: Boot, cpus: Cpus = Cpus.WITH_SVM, guest_runs: bool = False, outcomes: tuple[str, ...] = ()
) -> Callable[[Case], Case]:
    """What shall boot for the fixture ``seen``.

    :param variants: the boots; the case is judged once for each. Without any: the manifest's default.
    :param cpus: on which models.
    :param guest_runs: the case judges something that needs a guest to have run; when none did it is *not run*.
    :param outcomes: outcomes that the manifest must be able to show; else the case is skipped, naming them.
    """
    return _mark(pytest.mark.boots(Boots(variants or (Boot(),), cpus, guest_runs, outcomes)))


def executes(programs: dict[str, Program], cpus: Cpus = Cpus.WITH_SVM) -> Callable[[Case], Case]:
    """Which programs, by name, the probe shall execute for the fixture ``ran``; the case is judged once for each."""
    return _mark(pytest.mark.executes(Executes(tuple(programs.items()), cpus)))


def _mark(mark: pytest.MarkDecorator) -> Callable[[Case], Case]:
    def decorate(case: Case) -> Case:
        marked: Any = mark(case)
        return marked  # type: ignore[no-any-return]

    return decorate
