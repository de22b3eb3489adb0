"""Lets a freshly unpacked engine boot something, before anybody relies on it: a boot sector that ends the machine."""

from __future__ import annotations

import threading
from pathlib import Path

from harness.deadline import Deadline
from harness.engines.store.process import run
from harness.engines.store.programs import Runnable
from harness.errors import EngineError

_SECONDS = 60
_WORD = b"svmconf"
_EXIT_QEMU, _EXIT_BOCHS = 0xF4, 0x8900
_GEOMETRY = (20, 16, 63)
"""Cylinders, heads, sectors of the disk that it boots from."""


def _sends(text: bytes, port: int) -> bytes:
    """``mov dx, port``, then ``mov al, c; out dx, al`` for each c."""
    return b"\xba" + port.to_bytes(2, "little") + b"".join(bytes([0xB0, c, 0xEE]) for c in text)


def _boot_sector() -> bytes:
    """Says a word on port 0xE9, ends QEMU, then Bochs; if neither heeds it: ``cli; hlt``."""
    code = _sends(_WORD, 0xE9) + _sends(b"\x10", _EXIT_QEMU) + _sends(b"Shutdown", _EXIT_BOCHS) + b"\xfa\xf4"
    return code.ljust(510, b"\0") + b"\x55\xaa"


def boots(runnable: Runnable, folder: Path, stop: threading.Event | None = None) -> None:
    """Boot; raise :class:`EngineError` with the engine's own words if nothing came of it. Files go to ``folder``."""
    disk = folder / "trial.img"
    cylinders, heads, sectors = _GEOMETRY
    disk.write_bytes(_boot_sector())
    with disk.open("r+b") as file:
        file.truncate(cylinders * heads * sectors * 512)
    arguments = (_bochs if runnable.family == "bochs" else _qemu)(runnable, folder, disk)
    command = [*runnable.argv, *runnable.arguments, *arguments]
    done = run(command, Deadline.after(_SECONDS), runnable.env, stop)
    if _WORD.decode() not in done.said:
        log = folder / "bochs.log"
        words = (log.read_text(errors="replace") if log.is_file() else done.said).strip().splitlines()
        raise EngineError(f"it does not boot: {words[-1] if words else f'exit status {done.status}'}")


def _qemu(_runnable: Runnable, _folder: Path, disk: Path) -> list[str]:
    return [
        *("-machine", "pc", "-accel", "tcg", "-m", "32", "-nodefaults", "-vga", "none", "-display", "none"),
        *("-no-reboot", "-drive", f"file={disk},format=raw,if=ide,snapshot=on"),
        *("-debugcon", "stdio", "-device", f"isa-debug-exit,iobase={_EXIT_QEMU:#x},iosize=1"),
    ]


def _bochs(runnable: Runnable, folder: Path, disk: Path) -> list[str]:
    """Headless, with SeaBIOS (the old builds' own BIOS crashes); a build with a debugger is told to go on."""
    root = runnable.root / "usr/share"
    cylinders, heads, sectors = _GEOMETRY
    (folder / "go").write_text("c\n")
    (folder / "bochsrc").write_text(
        'config_interface: textconfig\ndisplay_library: rfb, options="timeout=0"\n'
        f"romimage: file={root}/seabios/bios.bin\n"
        f"vgaromimage: file={root}/vgabios/vgabios.bin\n"
        "megs: 32\n"
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n"
        f"ata0-master: type=disk, path={disk}, mode=volatile, cylinders={cylinders}, heads={heads}, spt={sectors}\n"
        f"boot: disk\nlog: {folder}/bochs.log\n"
        "panic: action=fatal\nport_e9_hack: enabled=1\nsound: waveoutdrv=dummy\nclock: sync=none, time0=1\n"
    )
    return ["-q", "-f", str(folder / "bochsrc"), "-rc", str(folder / "go")]
