"""The framed records that our images print between lines for people (docs/protocol.md, "Records").

>>> line = frame(1, 'boot protocol=pvh cmdline="guest=hello" count=0x10')
>>> line
'@rec 0052 6e5ef410 1 boot protocol=pvh cmdline="guest=hello" count=0x10'
>>> Record.parse(line).fields["count"]
16
"""

from __future__ import annotations

import re
import zlib

from pydantic import BaseModel, ConfigDict

from harness.errors import ProtocolError

_LINE = re.compile(r"@rec (\d{4}) ([0-9a-f]{8}) (.*)")
_BODY = re.compile(r"([1-9]\d*) ([a-z0-9.-]+)((?: [a-z0-9_]+=(?:\"[^\"]*\"|\S+))*)")
_FIELD = re.compile(r" ([a-z0-9_]+)=(?:(0x[0-9a-f]+)|\"([^\"]*)\"|([A-Za-z0-9._:+-]+))(?= |$)")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")


class Record(BaseModel):
    """One record: its number, kind, and fields (integers or strings)."""

    model_config = ConfigDict(frozen=True)

    seq: int
    kind: str
    fields: dict[str, int | str]

    @classmethod
    def parse(cls, line: str) -> Record:
        """Read one line; raise :class:`ProtocolError` naming what is wrong with it."""
        framed = _LINE.fullmatch(line)
        if not framed:
            raise ProtocolError(f"not a record: {line[:80]!r}")
        body = framed[3]
        if len(body) != int(framed[1]):
            raise ProtocolError(f"record says {int(framed[1])} bytes and has {len(body)}: {line[:80]!r}")
        if zlib.crc32(body.encode("latin-1")) != int(framed[2], 16):
            raise ProtocolError(f"record with a wrong checksum: {line[:80]!r}")
        parts = _BODY.fullmatch(body)
        if not parts:
            raise ProtocolError(f"record of an unknown form: {body[:80]!r}")
        fields: dict[str, int | str] = {}
        at = 0
        for field in _FIELD.finditer(parts[3]):
            if field.start() != at:
                break
            at = field.end()
            key, number, text, word = field.groups()
            fields[key] = int(number, 16) if number else word if word is not None else _unescape(text)
        if at != len(parts[3]):
            raise ProtocolError(f"record with an unreadable field: {parts[3][at : at + 40]!r}")
        return cls(seq=int(parts[1]), kind=parts[2], fields=fields)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)


def frame(seq: int, body: str) -> str:
    """The line that carries ``body`` (kind and fields) as record number ``seq``."""
    text = f"{seq} {body}"
    return f"@rec {len(text):04} {zlib.crc32(text.encode('latin-1')):08x} {text}"


class RecordReader:
    """Takes console bytes as they come and gives records; says what was lost or damaged, and goes on."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.damage: list[str] = []
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the console."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode("latin-1")
            # Another CPU's text may stand before the record on the same line.
            start = text.find("@rec ")
            if start >= 0:
                self._take(text[start:])
        if len(self._rest) > 1 << 20:
            self._rest = b""

    def _take(self, text: str) -> None:
        try:
            record = Record.parse(text)
        except ProtocolError as error:
            self.damage.append(error.what)
            return
        expected = self.records[-1].seq + 1 if self.records else 1
        if record.seq != expected:
            self.damage.append(f"expected record {expected}, got {record.seq}")
        self.records.append(record)
