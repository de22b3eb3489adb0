from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ProtocolError
from harness.lab import program
from harness.machine import records
from harness.machine.records import Record, RecordReader, frame

WORDS = st.from_regex(r"[A-Za-z0-9._:+-]+", fullmatch=True).filter(lambda w: not w.startswith("0x"))
KEYS = st.from_regex(r"[a-z0-9_]+", fullmatch=True)
TEXTS = st.text(st.characters(min_codepoint=0, max_codepoint=255), max_size=60)


def said(value: int | str) -> str:
    """A field's value as our images print it."""
    if isinstance(value, int):
        return f"{value:#x}"
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\x{ord(c):02x}" for c in value) + '"'


@given(st.dictionaries(KEYS, st.one_of(st.integers(0, 2**64 - 1), TEXTS), max_size=6))
def test_every_record_is_read_back(fields: dict[str, int | str]) -> None:
    line = frame(7, "some.kind" + "".join(f" {k}={said(v)}" for k, v in fields.items()))
    assert Record.parse(line) == Record(seq=7, kind="some.kind", fields=fields)


@given(WORDS)
def test_bare_words(word: str) -> None:
    assert Record.parse(frame(1, f"k a={word}")).fields == {"a": word}


@given(st.integers(0, 60), st.integers(1, 255))
def test_one_flipped_byte_is_noticed(at: int, flip: int) -> None:
    line = bytearray(frame(1, 'step name=vm-cr ok=0x1 text="some words in here"').encode())
    line[at % len(line)] ^= flip
    with pytest.raises(ProtocolError):
        Record.parse(line.decode("latin-1"))


@given(st.lists(st.integers(1, 40), max_size=40))
def test_reader_takes_any_pieces(cuts: list[int]) -> None:
    data = f"words\r\n{frame(1, 'a x=0x1')}\r\nnoise{frame(2, 'b')}\n".encode()
    reader = RecordReader()
    for size in cuts:
        reader.feed(data[:size])
        data = data[size:]
    reader.feed(data)
    assert [r.kind for r in reader.records] == ["a", "b"]
    assert not reader.damage


def test_a_lost_record_is_noticed() -> None:
    reader = RecordReader()
    reader.feed(f"{frame(1, 'a')}\n{frame(3, 'c')}\n".encode())
    assert reader.damage == ["expected record 2, got 3"]


def test_endless_line_is_bounded() -> None:
    reader = RecordReader()
    for _ in range(40):
        reader.feed(b"x" * 65536)
    assert len(reader._rest) <= 1 << 20


@pytest.mark.parametrize("module", [records, program])
def test_doctests(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
