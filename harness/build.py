"""Builds our images with cargo: once for each state of the sources, whoever asks first."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from harness import paths
from harness.errors import BuildError, ToolMissing

_SOURCES = {".rs", ".toml", ".lock", ".asm", ".inc", ".ld", ".md"}


class Product(NamedTuple):
    """Something to build, and what it is called afterwards."""

    name: str
    package: str
    binary: str
    features: str = ""
    static: bool = False
    """Whether it is a program that finds no libraries where it runs."""

    def __str__(self) -> str:
        return f"{self.package} with {self.features}" if self.features else self.package


HYPERVISOR = Product("hypervisor", "svmconf-hypervisor", "hypervisor")
HYPERVISOR_SEEDED = Product("hypervisor-defects", "svmconf-hypervisor", "hypervisor", "defects")
PROBE = Product("probe", "svmconf-probe", "probe")
_VMM = Product("vmm", "svmconf-vmm", "vmm", static=True)


class Defect(BaseModel):
    """A seeded defect: a word of the command line, and the cases that it must turn red, no others.

    ``engine`` is the one on which it shows, where the default one lacks what it misuses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    summary: str
    engine: str = ""
    turns_red: tuple[str, ...]


@cache
def defects() -> dict[str, Defect]:
    """The seeded defects by name."""
    listed = tomllib.loads((paths.HYPERVISOR / "defects.toml").read_text())["defect"]
    return {entry["name"]: Defect.model_validate(entry) for entry in listed}


def image(seeded: bool = False) -> Path:
    """The hypervisor's image, with the seeded defects to choose from or without, built if need be."""
    return built(HYPERVISOR_SEEDED if seeded else HYPERVISOR)


def probe() -> Path:
    """The probe's image, built if need be."""
    return built(PROBE)


def vmm() -> Path:
    """The virtual machine monitor of the nested engines: a static program for Linux, built if need be."""
    return built(_VMM)


def everything(seeded: bool = False) -> list[Product]:
    """What there is to build for :func:`built`; not :func:`vmm`, which only nested engines need."""
    return [HYPERVISOR, PROBE, *([HYPERVISOR_SEEDED] if seeded else [])]


@cache
def built(product: Product) -> Path:
    """One of :func:`everything`, built if need be."""
    target = paths.IMAGES / f"{product.name}.elf"
    stamp = target.with_suffix(".key")
    key = _key()
    paths.IMAGES.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.IMAGES / "build.lock"):
        if not (target.exists() and stamp.exists() and stamp.read_text() == key):
            _cargo(product, paths.IMAGES / f"{product.name}.log")
            draft = target.with_suffix(".draft")
            shutil.copyfile(_target_folder() / "release" / product.binary, draft)
            draft.replace(target)
            stamp.write_text(key)
    return target


def _target_folder() -> Path:
    return paths.HYPERVISOR / "target"


def _cargo(product: Product, log: Path) -> None:
    features = ["--features", product.features] if product.features else []
    command = ["cargo", "build", "--release", "--locked", "--package", product.package, *features]
    if product.static:
        command[1] = "rustc"  # flags for this program only: for all they would rebuild the images, too
        command += ["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]
    env = {**os.environ, "CARGO_TARGET_DIR": str(_target_folder())}
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                command, cwd=paths.HYPERVISOR, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
            )
    except FileNotFoundError as error:
        raise ToolMissing("no cargo: the hypervisor cannot be built", "./svmconf doctor") from error
    if done.returncode:
        said = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(("error", "  nasm"))]
        raise BuildError(f"building {product} failed: {said[0] if said else done.returncode}", f"see {log}")


@cache
def _key() -> str:
    """A hash of every source file and of the compilers' versions."""
    digest = hashlib.sha256()
    for tool in (["rustc", "--version"], ["nasm", "--version"]):
        try:
            digest.update(subprocess.run(tool, capture_output=True, timeout=60, check=True).stdout)
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolMissing(f"cannot run {tool[0]}: the hypervisor cannot be built", "./svmconf doctor") from error
    target = _target_folder()
    for path in sorted(p for p in paths.HYPERVISOR.rglob("*") if p.suffix in _SOURCES and target not in p.parents):
        digest.update(str(path.relative_to(paths.HYPERVISOR)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
