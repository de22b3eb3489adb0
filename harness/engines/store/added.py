"""Engines of the user's own: any QEMU or Bochs, registered by name. A rebuilt one is asked for its version again."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.engines.store import cache
from harness.engines.store.errors import EngineMissing
from harness.engines.store.programs import Runnable, introduction
from harness.engines.store.recipes import recipes
from harness.engines.store.stamp import sha256
from harness.errors import SvmconfError

_NAME = re.compile(r"[a-z][a-z0-9.+-]*")


class Added(BaseModel):
    """One of the user's own engines, and its program's size and time when it was asked what it is."""

    model_config = ConfigDict(frozen=True)

    runnable: Runnable
    size: int
    mtime_ns: int

    @property
    def binary(self) -> Path:
        """Its program; may be a link."""
        return Path(self.runnable.argv[0])

    @property
    def changed(self) -> bool:
        """Whether it is another program now."""
        stat = self.binary.stat()
        return (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns)


class Registry(BaseModel):
    """All that are registered, by name."""

    model_config = ConfigDict(frozen=True)

    engines: dict[str, Added] = Field(default_factory=dict)


def registry() -> Registry:
    """Those of this cache."""
    path = _file()
    return Registry.model_validate_json(path.read_bytes()) if path.is_file() else Registry()


def add(name: str, binary: Path, data: Path | None = None, env: dict[str, str] | None = None) -> Runnable:
    """Register a program under a name, in place of what had that name.

    :param data: the folder of its ROMs (QEMU's ``-L``, Bochs' ``BXSHARE``).
    :param env: what else it needs in its environment.
    :raises SvmconfError: the name is not free, or it does not run, or is neither QEMU nor Bochs.
    """
    if name in recipes().component or not _NAME.fullmatch(name):
        what = f"an engine of your own cannot be named {name!r}"
        raise SvmconfError(what, "my-qemu, say: small letters, and not the name of one that can be fetched")
    if not binary.is_file():
        raise EngineMissing(f"no such program: {binary}", "give the path of a qemu-system-x86_64 or bochs binary")
    path = binary.absolute()
    bare = Runnable(
        name=name, family="", version="", argv=(str(path),), env=env or {}, arguments=(), root=path.parent
    )  # fmt: skip
    one = _described(bare)
    if data and one.runnable.family == "qemu":
        one = _with(one, arguments=("-L", str(data.absolute())))
    elif data:
        one = _with(one, env={"BXSHARE": str(data.absolute()), **bare.env})
    _note(name, one)
    return one.runnable


def remove(name: str) -> None:
    """Forget one; its files are not touched."""
    _note(name, None)


def runnable(name: str) -> Runnable:
    """How to run one; raise :class:`EngineMissing` if its program is gone."""
    one = registry().engines[name]
    if not one.binary.is_file():
        raise EngineMissing(f"engine {name}: {one.binary} is gone", f"svmconf engines add {name} --binary PATH")
    if one.changed:
        one = _described(one.runnable)
        _note(name, one)
    return one.runnable


def _described(runnable: Runnable) -> Added:
    """With what it says that it is, made exact: an own build rarely tells itself from the next one."""
    family, version = introduction(runnable)
    binary = Path(runnable.argv[0])
    stat, exact = binary.stat(), f"{version}, sha256 {sha256(binary)[:12]}"
    described = runnable.model_copy(update={"family": family, "version": exact})
    return Added(runnable=described, size=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _with(one: Added, **changes: object) -> Added:
    return one.model_copy(update={"runnable": one.runnable.model_copy(update=changes)})


def _file() -> Path:
    return cache.folder() / "added.json"


def _note(name: str, one: Added | None) -> None:
    """Write down one, or that there is none of that name."""
    with cache.guard("added"):
        engines = {key: value for key, value in registry().engines.items() if key != name}
        cache.write(_file(), Registry(engines=engines | ({name: one} if one else {})).model_dump_json(indent=1))
