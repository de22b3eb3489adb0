"""The files of a Linux guest: its kernel from the engine store, an initramfs made of the store's tools."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.engines import store
from harness.engines.store import cache
from harness.errors import EngineError, SvmconfError
from harness.guests.linux import Linux
from harness.guests.programs import canary, svm_instruction
from harness.guests.workload import INIT
from harness.machine.l1.initramfs import Initramfs

TOOLS = "busybox"
"""The store's component that all programs in the initramfs come from."""


def parts(linux: Linux) -> tuple[str, ...]:
    """The components of the engine store that it is made of."""
    return linux.kernel, TOOLS


def missing(linux: Linux) -> str:
    """What is missing here for it, with the way out; empty when nothing is."""
    try:
        for part in parts(linux):
            store.tree(part)
    except SvmconfError as error:
        return f"{error.what}: svmconf engines fetch {' '.join(parts(linux))}"
    return ""


@dataclass(frozen=True)
class Files:
    """A Linux guest's two files. Raises :class:`harness.errors.EngineMissing` when they are not in the cache."""

    kernel: Path
    initramfs: Path

    @classmethod
    def of(cls, linux: Linux) -> Files:
        """Find the kernel, and make the initramfs, which is the same for all."""
        return cls(_kernel(linux.kernel), _initramfs())


@dataclass(frozen=True)
class Module:
    """A boot module: its bytes, and the string that goes with it, whose first word is a name (as GRUB's is)."""

    data: bytes
    string: str


def modules(linux: Linux | None) -> tuple[Module, ...]:
    """What a loader puts into memory beside the hypervisor: kernel and initramfs; nothing for other guests."""
    if linux is None:
        return ()
    files = Files.of(linux)
    return (
        Module(files.kernel.read_bytes(), f"vmlinuz {linux.command_line}"),
        Module(files.initramfs.read_bytes(), "initramfs"),
    )


def _kernel(name: str) -> Path:
    tree = store.tree(name)
    return _only(tree.root.rglob("vmlinuz*"), f"{name} has no kernel")


@lru_cache(maxsize=1)
def _initramfs() -> Path:
    """The archive, in the cache under a name made of its content."""
    busybox = _only(store.tree(TOOLS).root.rglob("busybox"), f"{TOOLS} has no program")
    fs = Initramfs()
    for folder in ("dev", "proc", "sys", "tmp"):
        fs.folder(folder)
    fs.device("dev/console", 5, 1)
    fs.device("dev/null", 1, 3)
    fs.file("bin/busybox", busybox)
    fs.file("bin/canary", canary())
    fs.file("bin/svm-instruction", svm_instruction())
    fs.file("init", INIT.encode())
    content = fs.encode()
    kept = cache.folder().parent / "guests" / f"initramfs-{hashlib.sha256(content).hexdigest()[:12]}.cpio"
    if not kept.is_file() or kept.stat().st_size != len(content):
        kept.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=kept.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(draft).replace(kept)
    return kept


def _only(found: Iterable[Path], problem: str) -> Path:
    files = sorted(path for path in found if path.is_file())
    if not files:
        raise EngineError(problem, "svmconf engines fetch --check")
    return files[0]
