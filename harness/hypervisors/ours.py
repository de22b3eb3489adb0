"""Our own hypervisor, built when it is out of date, with a seeded defect or without."""

from __future__ import annotations

from harness import build
from harness.errors import SvmconfError
from harness.hypervisors.manifest import Manifest, load

NAME = "svmconf"


def our_manifest(defect: str = "") -> Manifest:
    """Its manifest, with the image in place; raises :class:`SvmconfError` when there is no such defect."""
    if not defect:
        return load(NAME).model_copy(update={"image": build.image()})
    check_defect(defect)
    return seeded_manifest(f"defect={defect}")


def check_defect(defect: str) -> None:
    """Raise :class:`SvmconfError` when there is no such defect."""
    if defect not in build.defects():
        raise SvmconfError(f"no seeded defect {defect!r}", f"one of: {', '.join(build.defects())}")


def seeded_manifest(cmdline: str = "") -> Manifest:
    """The image with all seeded defects, of which the command line turns one on, or none."""
    return load(NAME).model_copy(update={"image": build.image(seeded=True), "cmdline": cmdline})
