"""One number that everything drawn at random hangs on: the same ``--seed`` draws the same again.

What a case draws hangs on the seed and the case's own id, what a module draws when it is imported on the seed and the
module's: neither on what else runs, in which order, or in how many workers.
"""

from __future__ import annotations

import random
import secrets

import pytest

from harness.errors import SvmconfError

_LARGEST = 2**32


def parse(text: str) -> int:
    """The number that a person gave; without one a new number. Raise :class:`SvmconfError` when it is none."""
    if not text:
        return secrets.randbelow(_LARGEST)
    if not text.isdecimal() or int(text) >= _LARGEST:
        raise SvmconfError(f"no seed {text!r}", f"a number from 0 to {_LARGEST - 1}; a run's is in its ledger's header")
    return int(text)


class Seeding:
    """A plugin of pytest's that starts :mod:`random` anew for each module and each case."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        """Before a module is imported."""
        random.seed(f"{self.seed} {collector.nodeid}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before a case."""
        random.seed(f"{self.seed} {item.nodeid}")
