"""Builds the TCG plugin for a QEMU: once for each state of its source and version of QEMU's interface."""

from __future__ import annotations

import hashlib
import mmap
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from harness.engines.store import cache
from harness.errors import BuildError, ToolMissing

_SOURCE = Path(__file__).parent / "plugin"
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden")
_VERSION = re.compile(r"(\d+)\.(\d+)")
_INTERFACES = (((11, 0), 7), ((9, 2), 4), ((9, 0), None), ((6, 0), 1))
"""The version of the interface that plugins get, from a version of QEMU on; that of 9.0 and 9.1 we do not speak."""
_MARK = b"qemu_plugin_register_atexit_cb"


def interface(version: str) -> int | None:
    """The version of the plugin interface to build for, by QEMU's version; ``None`` when there is none that we speak.

    >>> interface("7.2.22 (Debian 1:7.2+dfsg-7)"), interface("10.0"), interface("5.2")
    (1, 4, None)
    """
    found = _VERSION.match(version)
    number = (int(found[1]), int(found[2])) if found else (0, 0)
    return next((spoken for since, spoken in _INTERFACES if number >= since), None)


def lacks(binary: Path, version: str) -> str:
    """Why a QEMU cannot load the plugin; empty when it can."""
    if interface(version) is None:
        return f"QEMU {version} has no plugin interface that svmconf speaks"
    with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return "" if data.find(_MARK) >= 0 else f"QEMU {version} was built without TCG plugins"


def build(version: str) -> Path:
    """The plugin for a QEMU of that version, built if need be.

    :raises ToolMissing: there is no C compiler.
    :raises BuildError: it does not compile, or there is no interface to build for.
    """
    spoken = interface(version)
    if spoken is None:
        raise BuildError(f"QEMU {version} has no plugin interface that svmconf speaks", "--via gdbstub")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ToolMissing("no C compiler: the TCG plugin cannot be built", "apt-get install gcc libc6-dev")
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    for part in sorted(_SOURCE.iterdir()):
        digest.update(part.name.encode() + b"\0" + part.read_bytes())
    home = cache.folder().parent / "plugins"
    home.mkdir(parents=True, exist_ok=True)
    library = home / f"vmruns-{digest.hexdigest()[:16]}-{spoken}.so"
    with FileLock(home / "lock"):
        if not library.exists():
            _compile(compiler, spoken, library)
    return library


def _compile(compiler: str, spoken: int, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        draft = Path(folder) / library.name
        command = [compiler, *_FLAGS, f"-DAPI={spoken}", str(_SOURCE / "vmruns.c"), "-o", str(draft)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode:
            said = next(
                (line for line in done.stderr.splitlines() if "error" in line), f"exit status {done.returncode}"
            )
            raise BuildError(f"the TCG plugin does not compile: {said}", "apt-get install gcc libc6-dev")
        draft.replace(library)
