"""The circumstances of a run, for its ledger: this machine, this checkout, the time, the command line."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from harness import paths


def machine() -> str:
    """This machine in a few words."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line), cpu
        )
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} x {cpu}"


def git() -> str:
    """Commit and state of the checkout, or empty."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=paths.ROOT, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def command() -> list[str]:
    """This process's command line, without the folder it stands in."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
