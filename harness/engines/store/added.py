"""Engines of the user's own: any QEMU or Bochs, registered by name. A rebuilt one is asked for its version again."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.engines.store import cache
from harness.engines.store.errors import EngineMissing
from harness.engines.store.programs import Runnable, introduction
from harness.engines.store.recipes import recipes
from harness.engines.store.stamp import File
from harness.errors import SvmconfError

_NAME = re.compile(r"[a-z][a-z0-9.+-]*")


class Added(BaseModel):
    """One of the user's own engines, and its binary as it was when it was asked what it is."""

    model_config = ConfigDict(frozen=True)

    runnable: Runnable
    binary: File

    @property
    def name(self) -> str:
        """Its name."""
        return self.runnable.name

    def fault(self) -> str:
        """What is wrong with its binary, or nothing."""
        return self.binary.fault(self.runnable.root, thorough=False)


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
        raise SvmconfError(
            f"an engine of your own cannot be named {name!r}", "say, my-qemu: not the name of one to fetch"
        )
    if not binary.is_file():
        raise EngineMissing(f"no such program: {binary}", "give the path of a qemu-system-x86_64 or bochs binary")
    one = _described(name, binary.absolute(), data.absolute() if data else None, env or {})
    _save(registry().engines | {name: one})
    return one.runnable


def remove(name: str) -> None:
    """Forget one; its files are not touched."""
    _save({key: one for key, one in registry().engines.items() if key != name})


def runnable(name: str) -> Runnable:
    """How to run one; raise :class:`EngineMissing` if its binary is gone."""
    one = registry().engines[name]
    if one.fault():
        binary = one.runnable.root / one.binary.path
        if not binary.is_file():
            raise EngineMissing(f"engine {name}: {binary} is gone", f"svmconf engines add {name} --binary PATH")
        fresh = introduction(one.runnable)
        one = _stamped(one.runnable, binary, fresh)
        _save(registry().engines | {name: one})
    return one.runnable


def _described(name: str, binary: Path, data: Path | None, env: dict[str, str]) -> Added:
    bare = Runnable(
        name=name, family="", version="", argv=(str(binary),), env=env, arguments=(), root=binary.parent
    )  # fmt: skip
    family, version = introduction(bare)
    if data and family == "qemu":
        bare = bare.model_copy(update={"arguments": ("-L", str(data))})
    elif data:
        bare = bare.model_copy(update={"env": {"BXSHARE": str(data), **env}})
    return _stamped(bare, binary, (family, version))


def _stamped(runnable: Runnable, binary: Path, words: tuple[str, str]) -> Added:
    """With its version made exact: an own build rarely tells itself from the next one."""
    family, version = words
    file = File.of(binary.parent, binary.resolve() if binary.is_symlink() else binary)
    exact = f"{version}, own build, sha256 {file.sha256[:12]}"
    return Added(runnable=runnable.model_copy(update={"family": family, "version": exact}), binary=file)


def _file() -> Path:
    return cache.folder() / "added.json"


def _save(engines: dict[str, Added]) -> None:
    with cache.guard("added"):
        cache.write(_file(), Registry(engines=engines).model_dump_json(indent=1))
