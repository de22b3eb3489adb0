"""The conformance suite as data: its cases with what their marks say, for whatever judges without pytest."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from harness import paths


def cases(mark: str) -> Iterator[tuple[str, Callable[[Any], None], Any]]:
    """Every case that carries a mark (``boots`` or ``executes``): its place in the suite, itself, the mark's data."""
    if str(paths.ROOT) not in sys.path:
        sys.path.insert(0, str(paths.ROOT))  # the suite is no part of the installed package
    for path in sorted((paths.ROOT / "conformance").glob("*/test_*.py")):
        name = path.relative_to(paths.ROOT).with_suffix("")
        module = importlib.import_module(".".join(name.parts))
        for function in vars(module).values():
            for one in getattr(function, "pytestmark", ()):
                if one.name == mark and function.__module__ == module.__name__:
                    yield f"{'/'.join(name.parts[1:])}::{function.__name__}", function, one.args[0]
