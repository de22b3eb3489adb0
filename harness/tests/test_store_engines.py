"""The engines that are in this machine's cache: each one runs, all of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.engines import store
from harness.engines.store import programs, trial
from harness.engines.store.process import run
from harness.engines.store.recipes import recipes

pytestmark = pytest.mark.engines

PROGRAMS = [name for name, recipe in recipes().component.items() if recipes().family[recipe.family].program]
PARTS = [name for name, recipe in recipes().component.items() if recipe.packages and name not in PROGRAMS]


def fetched(name: str) -> store.Runnable:
    try:
        return store.runnable(name)
    except store.EngineMissing as error:
        pytest.skip(f"{error.what}: {error.hint}")


def part(name: str) -> Path:
    try:
        return store.tree(name).root
    except store.EngineMissing as error:
        pytest.skip(f"{error.what}: {error.hint}")


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_boots_and_says_the_version_that_it_is_named_for(name: str, tmp_path: Path) -> None:
    runnable = fetched(name)
    family, number = name.split("-")
    assert runnable.family == family and runnable.version.startswith(number)
    assert programs.introduction(runnable)[0] == family
    trial.boots(runnable, tmp_path)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_loads_no_library_of_the_hosts(name: str) -> None:
    runnable = fetched(name)
    *loading, binary = runnable.argv
    said = run([*loading, "--list", binary], Deadline.after(30)).said
    libraries = [line.split("=>")[1].split()[0] for line in said.splitlines() if "=>" in line]
    assert libraries and "not found" not in said
    assert not [library for library in libraries if not library.startswith(str(runnable.root))]


@pytest.mark.parametrize("name", [name for name in PARTS if name.startswith("linux-")])
def test_kernel_has_its_modules(name: str) -> None:
    root = part(name)
    assert list(root.glob("**/vmlinuz*"))
    for module in ("virtio_blk", "xen-evtchn" if name.endswith("-full") else "kvm-amd"):
        assert list(root.glob(f"**/{module}.ko*")), module


@pytest.mark.parametrize("name", [name for name in PARTS if name.startswith("xen-")])
def test_xen_has_its_tools_and_their_libraries(name: str) -> None:
    root = part(name)
    assert list(root.glob("boot/xen-*.gz"))
    for tool in ("xl", "xenstored", "xenconsoled", "xen-init-dom0"):
        (path,) = root.glob(f"usr/lib/{name}/bin/{tool}")
        runnable = programs.unpacked(name, "xen", "", root, str(path.relative_to(root)))
        said = run([*runnable.argv[:-1], "--list", str(path)], Deadline.after(30)).said
        assert "=>" in said and "not found" not in said
