"""The configuration file of one machine: what ``bochsrc`` says."""

from __future__ import annotations

from dataclasses import dataclass

INSTRUCTIONS_A_SECOND = 4_000_000
"""Of the machine's own time. The faster it thinks it is, the more instructions a byte on the serial port takes."""

FOR_LINUX = 50_000_000
"""An operating system that takes its processor for too slow spends all of its time on timer interrupts."""


@dataclass(frozen=True)
class Config:
    """One machine. Files are given by path; ``memory`` is in MiB, ``version`` is Bochs' own, such as (3, 1).

    ``ram`` is a file that is in RAM at ``ram_at`` when the machine starts, if any. ``without`` are features that the
    processor model shall lack; Bochs knows how since 3.0. ``speed`` is in instructions a second of its own time.
    """

    version: tuple[int, int]
    model: str
    memory: int
    rom: str
    video_rom: str
    log: str
    serial: str
    without: tuple[str, ...] = ()
    ram: str = ""
    ram_at: int = 0
    speed: int = INSTRUCTIONS_A_SECOND

    @property
    def can_remove_features(self) -> bool:
        """Whether a feature can be taken from a processor model."""
        return self.version >= (3, 0)

    @property
    def reads_ram_images(self) -> bool:
        """Whether a RAM image gets where it is told to: since 3.0.devel not (see ram_image.py)."""
        return self.version < (3, 0)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the command line has to say beside the file: 3.0 has its debugger only when asked for."""
        return ("-debugger", "-q") if self.version >= (3, 0) else ("-q",)

    def __str__(self) -> str:
        features = f", exclude_features={','.join(self.without)}" if self.without else ""
        lines = [
            "config_interface: textconfig",
            # Of those that need no screen, the one that opens no port. Its terminal is one of its own.
            'display_library: term, options="hideIPS"',
            f"romimage: file={self.rom}",
            f"vgaromimage: file={self.video_rom}",
            f"megs: {self.memory}",
            f"cpu: model={self.model}, count=1, ips={self.speed}, reset_on_triple_fault=0{features}",
            "clock: sync=none, time0=1",
            "pci: enabled=1, chipset=i440fx",
            "ata0: enabled=0",
            "ata1: enabled=0",
            "plugin_ctrl: speaker=0",  # it wants a sound card
            "port_e9_hack: enabled=1",
            f"com1: enabled=1, mode=file, dev={self.serial}",
            f"log: {self.log}",
            # The processor's panics are answered, so that the machine can still be looked at (see dialogue.py).
            "panic: action=fatal, cpu0=ask",
            "error: action=report",
            # Its handler of SIGINT logs, too, and hangs for ever when the log is locked just then: not from there.
            "info: action=ignore, cpu0=report, pc_system=report, memory=report",
            # Writes to ports that no device has, such as the exit port, are told here (see log.py).
            "debug: action=ignore, unmapped=report",
        ]
        if self.ram and self.reads_ram_images:
            lines.append(f"optramimage1: file={self.ram}, address={self.ram_at:#x}")
        if self.version >= (3, 1):
            lines.append("warn: action=report")
        return "\n".join(lines) + "\n"
