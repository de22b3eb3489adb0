"""Small images that misbehave, assembled once, and an engine to boot them in."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.boot import Boot
from harness.engines.qemu import Qemu
from harness.engines.select import binary
from harness.hypervisors.manifest import Manifest
from harness.observation import Observation

IMAGES = Path(__file__).parent / "images"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and children inherit it: tests could interrupt none of them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what boots engines of the store, minutes in all, unless that is asked for: ``svmconf test`` does."""
    if config.option.all_engines:
        return
    named = {Path(argument.partition("::")[0]).resolve() for argument in config.args}
    left_out = {item for item in items if item.get_closest_marker("engines") and item.path not in named}
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


@pytest.fixture(scope="session")
def assemble(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Assembles one of ``images/*.asm``."""
    folder = tmp_path_factory.mktemp("images")

    def build(name: str) -> Path:
        target = folder / f"{name}.bin"
        if not target.exists():
            source = IMAGES / f"{name}.asm"
            include = f"-i{IMAGES}/"
            subprocess.run(["nasm", "-w+all", "-w+error", "-fbin", include, "-o", target, source], check=True)
        return target

    return build


@pytest.fixture(scope="session")
def qemu() -> Qemu:
    """The machine's QEMU with TCG."""
    return Qemu.of_system(binary(), why="for tests")


@pytest.fixture
def boot(qemu: Qemu, assemble: Callable[[str], Path], tmp_path: Path) -> Callable[..., Observation]:
    """Boots one of the small images on CPU model EPYC."""

    def run(name: str, seconds: float = 5.0, boot: Boot | None = None, **manifest: object) -> Observation:
        made = Manifest(name=name, image=assemble(name), seconds=seconds, memory=32, **manifest)
        return qemu.observe(made, boot or Boot(), "EPYC", tmp_path)

    return run
