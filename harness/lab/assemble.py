"""NASM, for the small pieces of code that programs and guests are made of.

>>> assemble("mov eax, 5").hex(" ")
'b8 05 00 00 00'
>>> assemble("mvo eax, 5", bits=32)  # doctest: +ELLIPSIS
Traceback (most recent call last):
...
harness.errors.AssemblyError: line 1: ..., in: mvo eax, 5
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from harness import paths
from harness.errors import AssemblyError, ToolMissing

_COMPLAINT = re.compile(r":(\d+): error: (.+)")
_HEAD = "bits {bits}\norg {org:#x}\n%line 0+1 code\n"


@lru_cache(maxsize=4096)
def assemble(source: str, bits: int = 64, org: int = 0) -> bytes:
    """The bytes of ``source`` for 16-, 32- or 64-bit mode, when it stands at the address ``org``.

    Remembered from run to run. Raises :class:`AssemblyError` with NASM's complaint, :class:`ToolMissing` without NASM.
    """
    text = _HEAD.format(bits=bits, org=org) + source + "\n"
    kept = paths.cache() / "assembled" / hashlib.sha256(text.encode()).hexdigest()
    if kept.exists():
        return kept.read_bytes()
    binary = _run(text, source)
    kept.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=kept.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(binary)
    Path(draft).replace(kept)
    return binary


def _run(text: str, source: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        written, binary = Path(folder) / "code.asm", Path(folder) / "code.bin"
        written.write_text(text)
        command = ["nasm", "-f", "bin", "-w+all", "-w-reloc-abs", "-w-unknown-warning", "-o", str(binary), str(written)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except FileNotFoundError as error:
            raise ToolMissing("no nasm on this machine", "apt-get install nasm") from error
        if done.returncode:
            raise AssemblyError(_explained(done.stderr, source))
        return binary.read_bytes()


def _explained(complaint: str, source: str) -> str:
    found = _COMPLAINT.search(complaint)
    if found is None:
        return complaint.strip()
    number = int(found[1])
    lines = source.splitlines()
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    return f"line {number}: {found[2].strip()}, in: {line}"
