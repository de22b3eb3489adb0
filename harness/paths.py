"""Where things live in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parent.parent
HYPERVISOR = ROOT / "hypervisor"
IMAGES = HYPERVISOR / "target" / "images"
MANIFESTS = ROOT / "harness" / "hypervisors"
CATALOGUE = ROOT / "conformance" / "catalogue"
EXPECTATIONS = ROOT / "conformance" / "expectations"
OUT = ROOT / "reports" / "out"
TOOLS = ROOT / ".tools"


def cache() -> Path:
    """What can be made again: below ``SVMCONF_CACHE``, or else the user's cache folder."""
    base = os.environ.get("SVMCONF_CACHE") or platformdirs.user_cache_dir("svmconf")
    return Path(base).expanduser().absolute()
