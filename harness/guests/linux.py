"""A Linux as a guest, as plain data: an unmodified kernel of Debian's with an initramfs of ours.

A hypervisor gets two boot modules: the kernel, with its command line as the module's string, and the initramfs.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_COMMON = "console=ttyS0,115200 panic=-1 rdinit=/init"
_BOOT_SECONDS = 240

LINUX = "linux"
"""What a manifest calls this guest."""


class Linux(BaseModel):
    """What a Linux guest is, as plain data.

    :param kernel: a component of the engine store.
    :param stress: seconds that its workload is kept up; ``None``: as long as the run says.
    :param processors: how many the machine has.
    :param memory: MiB that the machine has.
    :param quiet: the kernel's log is printed at the end only, not while it boots.
    :param shell: a shell on the console instead of the workload.
    :param words: further words for the kernel's command line.
    """

    model_config = ConfigDict(frozen=True)

    kernel: str = "linux-6.1"
    stress: float | None = None
    processors: int = Field(default=1, ge=1, le=8)
    memory: int = Field(default=512, ge=192, le=2048)
    quiet: bool = True
    shell: bool = False
    words: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it may take on an engine that emulates: booting, its short tests, and the load by its own clock."""
        return _BOOT_SECONDS + 3 * (self.stress or 0)

    @property
    def command_line(self) -> str:
        """The kernel's command line; what follows ``--`` are the arguments of our init."""
        what = ["shell"] if self.shell else ["work", f"{self.stress or 0:g}"]
        return " ".join([_COMMON, *(["quiet"] if self.quiet else []), *self.words, "--", *what])
