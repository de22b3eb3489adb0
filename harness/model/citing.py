"""Citations of functions that are no rules: which requirements they implement."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_F = TypeVar("_F", bound=Callable[..., object])

CITED: set[str] = set()
"""Every requirement that is cited this way."""


def cites(*requirements: str) -> Callable[[_F], _F]:
    """Say which requirements a function implements."""
    CITED.update(requirements)
    return lambda function: function
