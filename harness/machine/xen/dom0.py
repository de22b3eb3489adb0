"""What Xen boots: dom0's initramfs. Its only task is to create the domain; after that nothing in it runs.

It holds the programs of xl with the libraries that they load, Xen's modules, busybox, and the domain's configuration.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.engines.store.keep import needed
from harness.errors import EngineError
from harness.machine.l1.initramfs import Initramfs
from harness.machine.xen import parking

READY, REFUSED = "svmconf: the domain waits", "svmconf: xl refuses: "
"""What dom0 prints on the console when the domain is there, and when it is not (then xl's own words follow)."""

MEMORY = 224
"""MiB of dom0: enough for a Debian kernel and xl."""

_PROGRAMS = ("xl", "xenstored", "xenconsoled", "xen-init-dom0")
_MODULES = ("xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs")

# libxl waits for xenconsoled, and writes to folders that it takes for granted. The domain starts paused, so that what
# dom0 still has to do does not compete with it; then dom0 has nothing to do for ever.
INIT = f"""#!/bin/busybox sh
export PATH=/bin:$(echo /usr/lib/xen-*/bin)
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts && busybox mount -t devpts devpts /dev/pts
for module in {" ".join(_MODULES)}; do [ ! -f /modules/$module.ko ] || busybox insmod /modules/$module.ko; done
busybox mount -t xenfs xenfs /proc/xen
xenstored --pid-file=/run/xenstored.pid
xenconsoled --pid-file=/run/xenconsoled.pid
xen-init-dom0
if xl create -e -p /domain.cfg >/xl.log 2>&1
then echo "{READY}"; xl unpause svmconf
else echo "{REFUSED}$(busybox grep -m 1 error: /xl.log || busybox tail -n 1 /xl.log)"
fi
while :; do busybox sleep 1000000; done
"""


@dataclass(frozen=True)
class Domain:
    """A domain: ``memory`` in MiB, whether it has nested SVM, and what else its CPUID shows.

    ``vendor`` is the processor's unless given: 12 characters.
    """

    memory: int
    svm: bool
    npt: bool
    vendor: str = ""

    @property
    def config(self) -> str:
        """For ``xl create``. A domain that ended is kept, so that it can be looked at."""
        lines = [
            'name="svmconf"',
            'type="pvh"',
            'kernel="/parking.elf"',
            f"memory={self.memory}",
            "vcpus=1",
            f"nestedhvm={int(self.svm)}",
            'on_poweroff="preserve"',
            'on_reboot="preserve"',
            'on_crash="preserve"',
        ]
        if self.vendor:
            words = struct.unpack("<3I", self.vendor.encode())
            bits = (f"{name}={word:032b}" for name, word in zip(("ebx", "edx", "ecx"), words, strict=True))
            lines.append(f'cpuid=["0:{",".join(bits)}"]')
        elif self.svm and not self.npt:
            lines.append('cpuid="host,svm_npt=0"')
        return "\n".join(lines) + "\n"


def initramfs(xen: Path, kernel: Path, busybox: Path, domain: Domain) -> bytes:
    """The archive, from the unpacked trees of Xen, of dom0's kernel and of busybox.

    :raises EngineError: one of them lacks something.
    """
    fs = Initramfs()
    programs = tuple(f"usr/lib/xen-*/bin/{name}" for name in _PROGRAMS)
    for path in sorted(needed(xen, programs)):
        if "/lib/python" not in str(path):
            _copy(fs, xen, path)
    fs.link("lib64", "lib/x86_64-linux-gnu")
    for name, data in _modules(kernel):
        fs.file(f"modules/{name}.ko", data, 0o644)
    fs.file("bin/busybox", one(busybox, "**/bin/busybox"))
    fs.file("init", INIT.encode())
    fs.file("domain.cfg", domain.config.encode(), 0o644)
    fs.file("parking.elf", parking.elf(), 0o644)
    fs.file("etc/xen/xl.conf", b"", 0o644)
    for place in ("dev", "proc", "sys", "tmp", "run/xen", "run/xenstored", "run/lock", "var/lib/xen", "var/log/xen"):
        fs.folder(place)
    fs.folder("var/lib/xenstored")
    fs.link("var/run", "/run")
    fs.link("var/lock", "/run/lock")
    return fs.encode()


def one(root: Path, pattern: str) -> Path:
    """The file below ``root`` that a glob names, the first of several; raise :class:`EngineError` without any."""
    found = min((path for path in root.glob(pattern) if path.is_file()), default=None)
    if found is None:
        raise EngineError(f"{root} has no {pattern}", "svmconf engines fetch --check mends it")
    return found


def _copy(fs: Initramfs, root: Path, path: Path) -> None:
    """A file or link; libraries go to one folder, where every loader looks."""
    library = ".so" in path.name
    target = f"lib/x86_64-linux-gnu/{path.name}" if library else str(path)
    source = root / path
    if source.is_symlink():
        goal = source.readlink()
        fs.link(target, goal.name if library else str(goal))
    else:
        fs.file(target, source)


def _modules(kernel: Path) -> Iterator[tuple[str, bytes]]:
    """Xen's modules for dom0, not compressed; some are built into some kernels."""
    for name in _MODULES:
        for path in sorted(kernel.glob(f"**/drivers/xen/**/{name}.ko*")):
            data = path.read_bytes()
            yield name, lzma.decompress(data) if path.suffix == ".xz" else data
