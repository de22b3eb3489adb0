"""Where things live in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HYPERVISOR = ROOT / "hypervisor"
IMAGES = HYPERVISOR / "target" / "images"
MANIFESTS = ROOT / "harness" / "hypervisors"
CATALOGUE = ROOT / "conformance" / "catalogue"
EXPECTATIONS = ROOT / "conformance" / "expectations"
OUT = ROOT / "reports" / "out"
TOOLS = ROOT / ".tools"


def scratch() -> Path:
    """A folder for short-lived files such as guest RAM: memory-backed where the machine has one with room."""
    shm = Path("/dev/shm")
    if os.access(shm, os.W_OK):
        room = os.statvfs(shm)
        if room.f_bavail * room.f_frsize >= 1 << 30:
            return shm
    return Path(os.environ.get("TMPDIR", "/tmp"))
