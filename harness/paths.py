"""Where things live in a checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HYPERVISOR = ROOT / "hypervisor"
IMAGES = HYPERVISOR / "target" / "images"
MANIFESTS = ROOT / "harness" / "hypervisors"
CATALOGUE = ROOT / "conformance" / "catalogue"
EXPECTATIONS = ROOT / "conformance" / "expectations"
OUT = ROOT / "reports" / "out"
TOOLS = ROOT / ".tools"
