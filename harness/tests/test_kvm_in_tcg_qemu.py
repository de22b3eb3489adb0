"""The way that people go: an ordinary QEMU with KVM, in a Linux in L0, boots the hypervisor."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness import build
from harness.deadline import Deadline
from harness.engines import store
from harness.engines.store import EngineMissing, Runnable
from harness.machine.l1 import snapshot, wire
from harness.machine.l1.connection import Connection
from harness.machine.l1.initramfs import Initramfs
from harness.machine.l1.linux import linux
from harness.machine.l1.snapshot import restored

KERNEL, L0, INSIDE = "linux-6.12", "qemu-10.0", "qemu-10.0"
ROMS = ("bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "multiboot_dma.bin")
MEMORY = 768
GUEST_FINISHED = 0x10

pytestmark = [pytest.mark.slow, pytest.mark.engines]


@pytest.fixture(scope="module")
def parts() -> tuple[store.Tree, Runnable, Runnable]:
    try:
        return store.tree(KERNEL), store.runnable(L0), store.runnable(INSIDE)
    except EngineMissing as error:
        pytest.skip(str(error))


def packed(qemu: Runnable) -> Initramfs:
    """That QEMU with its loader, its libraries and the few ROMs that booting a kernel takes."""
    loader, _, path, binary = qemu.argv
    listed = subprocess.run(
        [loader, "--library-path", path, "--list", binary], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    fs = Initramfs()
    fs.file("qemu/loader", Path(loader))
    fs.file("qemu/qemu", Path(binary))
    for words in map(str.split, listed.splitlines()):
        if len(words) > 2 and words[1] == "=>":
            fs.file(f"qemu/lib/{words[0]}", Path(words[2]).resolve())
    for rom in ROMS:
        fs.file(f"qemu/rom/{rom}", next(qemu.root.rglob(rom)).resolve())
    fs.folder("tmp")
    return fs


def test_qemu_with_kvm_boots_the_hypervisor(
    parts: tuple[store.Tree, Runnable, Runnable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, l0, inside = parts
    monkeypatch.setenv("SVMCONF_CACHE", str(tmp_path))  # a state of this size is not worth keeping
    image = build.image()
    system = linux(kernel, l0, "EPYC,+svm,+npt", build.vmm(), extra=packed(inside), memory=MEMORY)
    command = [
        *("/qemu/loader", "--library-path", "/qemu/lib", "/qemu/qemu", "-L", "/qemu/rom"),
        *("-machine", "pc", "-accel", "kvm", "-cpu", "host", "-m", "64M", "-no-reboot"),
        *("-nodefaults", "-no-user-config", "-vga", "none", "-display", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-debugcon", "stdio"),
        *("-kernel", "/image.elf", "-append", "guest=hello"),
    ]
    with restored(system) as l1:
        connection = Connection(l1)
        deadline = Deadline.after(120)
        connection.send(wire.execute(command, {"/image.elf": image.read_bytes()}, 100), deadline)
        ended = connection.receive(deadline)
    snapshot.remove()
    assert isinstance(ended, wire.ProgramEnded)
    said = ended.output.decode(errors="replace")
    assert ended.status == GUEST_FINISHED << 1 | 1, said
    assert "outcome name=guest-finished" in said
