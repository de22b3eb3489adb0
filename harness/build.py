"""Builds our images with cargo: once for each state of the sources, whoever asks first."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict

from harness import paths
from harness.errors import BuildError, SvmconfError, ToolMissing

_SOURCES = {".rs", ".toml", ".lock", ".asm", ".inc", ".ld", ".md"}
_STATIC = {"svmconf-vmm"}
"""Programs that find no libraries where they run."""


class Defect(BaseModel):
    """A seeded defect: a Cargo feature, and the cases that it must turn red, no others.

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


def image(defect: str = "") -> Path:
    """The hypervisor's image, with a seeded defect or without, built if need be."""
    if defect and defect not in defects():
        raise SvmconfError(f"no seeded defect {defect!r}", f"one of: {', '.join(defects())}")
    return _built("svmconf-hypervisor", "hypervisor", defect)


def probe() -> Path:
    """The probe's image, built if need be."""
    return _built("svmconf-probe", "probe", "")


def vmm() -> Path:
    """The virtual machine monitor of the nested engines: a static program for Linux, built if need be."""
    return _built("svmconf-vmm", "vmm", "")


def everything(defective: bool = False) -> list[tuple[str, str, str]]:
    """What there is to build, as arguments for :func:`built`: package, binary, defect.

    Not :func:`vmm`, which only nested engines need.
    """
    builds = [("svmconf-hypervisor", "hypervisor", ""), ("svmconf-probe", "probe", "")]
    return builds + [("svmconf-hypervisor", "hypervisor", name) for name in defects() if defective]


@cache
def _built(package: str, binary: str, defect: str) -> Path:
    target = paths.IMAGES / (f"{binary}-{defect}.elf" if defect else f"{binary}.elf")
    stamp = target.with_suffix(".key")
    key = _key()
    paths.IMAGES.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.IMAGES / "build.lock"):
        if not (target.exists() and stamp.exists() and stamp.read_text() == key):
            _cargo(package, defect, paths.IMAGES / f"{target.stem}.log")
            draft = target.with_suffix(".draft")
            shutil.copyfile(_target_folder() / "release" / binary, draft)
            draft.replace(target)
            stamp.write_text(key)
    return target


def built(package: str, binary: str, defect: str) -> Path:
    """Build one of :func:`everything`."""
    return _built(package, binary, defect)


def _target_folder() -> Path:
    return paths.HYPERVISOR / "target"


def _cargo(package: str, defect: str, log: Path) -> None:
    features = ["--features", f"defect-{defect}"] if defect else []
    command = ["cargo", "build", "--release", "--locked", "--package", package, *features]
    if package in _STATIC:
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
        raise BuildError(f"building {package} {defect} failed: {said[0] if said else done.returncode}", f"see {log}")


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
