"""The manual's chapters and sections with how much of each is covered, and where something deviates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from harness.report.site.sheets import Sheet
from harness.spec import catalogue, coverage
from harness.spec.coverage import Tally


@dataclass(frozen=True)
class Node:
    """A chapter, section or sub-section; its requirements are its own, not those of the nodes below it."""

    number: str
    title: str
    tally: Tally
    deviating: int
    sheets: tuple[Sheet, ...]
    below: tuple[Node, ...] = ()


def chapters(sheets: Sequence[Sheet]) -> list[Node]:
    """The tree, as the manual has it."""
    ordered = sorted(sheets, key=lambda sheet: sheet.requirement.order)
    return [
        _node("", chapter, members, tuple(_sections(members)))
        for chapter, members in _by(ordered, lambda sheet: sheet.requirement.chapter)
    ]


def _sections(sheets: list[Sheet]) -> list[Node]:
    found = []
    for number, members in _by(sheets, lambda sheet: sheet.requirement.main_section):
        inner = [
            _node(name, catalogue.title(name), own)
            for name, own in _by(members, lambda sheet: sheet.requirement.section)
            if name != number
        ]
        found.append(_node(number, catalogue.title(number), members, tuple(inner)))
    return found


def _node(number: str, title: str, sheets: list[Sheet], below: tuple[Node, ...] = ()) -> Node:
    """A node of all sheets in it; those that are in a node below are shown there."""
    tally = coverage.tally((sheet.requirement for sheet in sheets), number, title)
    inner = {sheet.requirement.id for node in below for sheet in _all(node)}
    own = tuple(sheet for sheet in sheets if sheet.requirement.id not in inner)
    return Node(number, title, tally, sum(not sheet.row.clean for sheet in sheets), own, below)


def _all(node: Node) -> list[Sheet]:
    return [*node.sheets, *(sheet for inner in node.below for sheet in _all(inner))]


def _by(sheets: Sequence[Sheet], key: Callable[[Sheet], str]) -> list[tuple[str, list[Sheet]]]:
    return [(name, list(members)) for name, members in groupby(sheets, key=key)]
