"""The exact versions that an engine is made of: ``lock.toml``, rewritten by ``svmconf engines fetch NAME --update``."""

from __future__ import annotations

import hashlib
import tomllib
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.engines.store import cache
from harness.engines.store.recipes import Recipe, recipes

LOCK = Path(__file__).parent / "lock.toml"
_LAYOUT = 1
"""Counts up whenever the same packages are unpacked to something else, so that what is cached counts as old."""
_HEAD = """\
# The exact packages of each component of recipes.toml. Written by `svmconf engines fetch NAME --update`; not by hand.
# size is in bytes, sha256 that of the .deb, path its place on a Debian mirror.
"""


class Package(BaseModel):
    """One .deb: what it is, ``size`` in bytes, its checksum, and its place on the mirror."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    architecture: str
    size: int
    sha256: str
    path: str

    @property
    def file(self) -> str:
        """The name that apt gives the downloaded file."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"

    @property
    def exact(self) -> str:
        """How to ask apt for exactly this one."""
        architecture = "" if self.architecture == "all" else f":{self.architecture}"
        return f"{self.name}{architecture}={self.version}"


class Locked(BaseModel):
    """What a component is made of, exactly. ``version`` is that of the package which the component is named for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    version: str
    packages: tuple[Package, ...]

    def digest(self, recipe: Recipe) -> str:
        """Names the unpacked tree: another one as soon as a package, or what is kept of it, changes."""
        parts = (str(_LAYOUT), *recipe.kept, "", *sorted(package.sha256 for package in self.packages))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def read() -> dict[str, Locked]:
    """The lock file: components by name."""
    if not LOCK.is_file():
        return {}
    stat = LOCK.stat()
    return _read(LOCK, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, _size: int) -> dict[str, Locked]:
    return {name: Locked.model_validate(entry) for name, entry in tomllib.loads(path.read_text()).items()}


def write(name: str, locked: Locked) -> None:
    """Replace one component's part of the lock file; safe when others do the same."""
    with cache.guard("lock-file"):
        everything = read() | {name: locked}
        order = [known for known in recipes().component if known in everything]
        cache.write(LOCK, _HEAD + "".join(_section(one, everything[one]) for one in order))


def _section(name: str, locked: Locked) -> str:
    lines = [f'\n["{name}"]', f'suite = "{locked.suite}"', f'version = "{locked.version}"', "packages = ["]
    for package in sorted(locked.packages, key=lambda p: p.name):
        values = (f"{k} = {v}" if isinstance(v, int) else f'{k} = "{v}"' for k, v in package.model_dump().items())
        lines.append(f"    {{ {', '.join(values)} }},")
    return "\n".join([*lines, "]", ""])
