"""How an unpacked program is run without chroot, and what it says that it is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.deadline import Deadline
from harness.engines.store.keep import library_folders, loader
from harness.engines.store.process import run
from harness.errors import EngineError

_INTRODUCTIONS = {
    "qemu": ("--version", re.compile(r"QEMU emulator version (\d[\w.]*(?: \([^)]*\))?)")),
    "bochs": ("--help", re.compile(r"Bochs x86 Emulator (\d[\w.]*)")),
}
_PLUGINS = "usr/lib/x86_64-linux-gnu/bochs/plugins"


class Runnable(BaseModel):
    """How to run one installed program without chroot: ``argv``, then ``arguments``, with ``env`` added.

    ``version`` is exact, as for reports; ``root`` is the unpacked tree, or the folder of a program of the user's own.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    family: str
    version: str
    argv: tuple[str, ...]
    env: dict[str, str]
    arguments: tuple[str, ...]
    root: Path

    @property
    def shell(self) -> str:
        """The same for pasting into a shell."""
        words = [f"{key}={shlex.quote(value)}" for key, value in self.env.items()]
        return " ".join([*words, shlex.join([*self.argv, *self.arguments])])


def unpacked(name: str, family: str, version: str, root: Path, program: str) -> Runnable:
    """A program (``usr/bin/...``) of an unpacked tree, run through the tree's own loader and libraries."""
    binary, start = root / program, loader(root)
    if not binary.is_file() or start is None:
        raise EngineError(f"engine {name} has no program {program}")
    libraries = ":".join(str(place) for place in library_folders(root))
    env: dict[str, str] = {}
    arguments: tuple[str, ...] = ()
    if family == "qemu":
        env = {"QEMU_MODULE_DIR": str(root / "usr/lib/x86_64-linux-gnu/qemu")}
        arguments = ("-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios"))
    elif family == "bochs":
        env = {"BXSHARE": str(root / "usr/share/bochs"), "LTDL_LIBRARY_PATH": str(root / _PLUGINS)}
    argv = (str(start), "--library-path", libraries, str(binary))
    return Runnable(name=name, family=family, version=version, argv=argv, env=env, arguments=arguments, root=root)


def introduction(runnable: Runnable) -> tuple[str, str]:
    """Run it and return its family and version by its own words; raise :class:`EngineError` if it is none of ours."""
    said = ""
    for family, (argument, pattern) in _INTRODUCTIONS.items():
        if runnable.family in ("", family):
            said = run([*runnable.argv, argument], Deadline.after(30), runnable.env).said.strip()
            if match := pattern.search(said):
                return family, match[1]
    words = said.splitlines()[-1][:100] if said else "nothing"
    raise EngineError(f"{runnable.argv[-1]} is no QEMU and no Bochs that runs here: it says {words!r}")
