"""What an engine was asked once and said of itself: kept in the cache for as long as its binary stays the same."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from harness import paths

Answer = TypeVar("Answer")


def remembered(binary: Path, question: str, kind: TypeAdapter[Answer], ask: Callable[[], Answer]) -> Answer:
    """The answer to a question, asked only when nobody remembers it.

    :param question: names it; another name (with a version in it) when what is remembered of it changes.
    """
    stat = binary.stat()
    key = hashlib.sha256(f"{question} {binary} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()
    place = paths.cache() / f"cpu-models-{key[:16]}.json"
    if place.is_file():
        return kind.validate_json(place.read_bytes())
    answer = ask()
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkstemp(dir=place.parent)[1])
    draft.write_bytes(kind.dump_json(answer))
    draft.replace(place)
    return answer
