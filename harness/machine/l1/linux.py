"""A Linux with KVM as L1: a Debian kernel, the modules that it needs, and our monitor as its only program."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from harness.engines.store import Runnable, Tree
from harness.errors import EngineError
from harness.machine.l1.initramfs import Initramfs
from harness.machine.l1.snapshot import System

CONTROL, GDB = "control", "gdb"
READY = b"svmconf-vmm is ready\n"

_MEMORY = 256
_WANTED = ("virtio_pci", "virtio_console", "kvm-amd")
_DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")
_WORDS = "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off"
_PORTS = "-device", "virtio-serial-pci,max_ports=4"


def linux(
    kernel: Tree, qemu: Runnable, cpu: str, monitor: Path, extra: Initramfs | None = None, memory: int = _MEMORY
) -> System:
    """The system of a kernel package; L0 is ``qemu`` with ``cpu``.

    :param monitor: the program that runs in it (``hypervisor/vmm``).
    :param extra: an initramfs with further files, to which ours are added.
    :param memory: MiB; L2 has to fit in.
    :raises EngineError: the package has no kernel, or a module that cannot be read.
    """
    fs = extra or Initramfs()
    for place in ("proc", "sys"):
        fs.folder(place)
    fs.device("dev/console", 5, 1)
    fs.device("dev/null", 1, 3)
    fs.file("init", monitor)
    for number, (name, content) in enumerate(_modules(kernel)):
        fs.file(f"modules/{number:02}-{name}.ko", content, 0o644)
    ports = [word for n, port in enumerate((CONTROL, GDB), 1) for word in _port(n, port)]
    return System(
        name=kernel.name if extra is None else f"{kernel.name}-more",
        qemu=qemu,
        cpu=cpu,
        memory=memory,
        arguments=(
            "-kernel",
            "@kernel@",
            "-initrd",
            "@initramfs@",
            "-append",
            _WORDS,
            "-serial",
            "chardev:log",
            *_PORTS,
            *ports,
        ),
        files={"kernel": _only(kernel, "vmlinuz*"), "initramfs": fs.encode()},
        channels=(CONTROL, GDB),
        ready=(CONTROL, READY),
    )


def _port(number: int, name: str) -> tuple[str, str]:
    return "-device", f"virtserialport,chardev={name},nr={number},name=svmconf.{name}"


def _only(kernel: Tree, pattern: str) -> Path:
    found = sorted(path for path in kernel.root.rglob(pattern) if path.is_file())
    if not found:
        raise EngineError(f"{kernel.name} has no {pattern}", f"svmconf engines fetch {kernel.name}")
    return found[0]


def _modules(kernel: Tree) -> list[tuple[str, bytes]]:
    """The modules that we want and all that they need, in the order to load them. Some kernels have them built in."""
    files = {path.name.partition(".ko")[0].replace("-", "_"): path for path in kernel.root.rglob("*.ko*")}
    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or name in order:
            return
        content = _unpacked(path)
        found = _DEPENDS.search(content)
        for other in found[1].decode().split(",") if found else ():
            add(other.replace("-", "_"))
        order[name] = content

    for wanted in _WANTED:
        add(wanted.replace("-", "_"))
    return [(name.replace("kvm_amd", "kvm-amd"), content) for name, content in order.items()]


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        return lzma.decompress(data) if path.suffix == ".xz" else data
    except lzma.LZMAError as error:
        raise EngineError(f"{path.name} cannot be unpacked: {error}") from error
