"""What can go wrong in the harness itself, each with one clear line and the way out."""

from __future__ import annotations


class SvmconfError(Exception):
    """An error a person can act on.

    :param what: one line: what was being done and what went wrong.
    :param hint: one line: the way out, if there is one.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})" if self.hint else self.what


class ToolMissing(SvmconfError):
    """A program that is needed is not on this machine."""


class ManifestError(SvmconfError):
    """A hypervisor's manifest cannot be used."""


class ImageError(SvmconfError):
    """An image cannot be read, or is not what its manifest says."""


class BuildError(SvmconfError):
    """The hypervisor could not be built."""


class AssemblyError(SvmconfError):
    """Code for a program is no assembly language that NASM understands."""


class EngineError(SvmconfError):
    """An engine cannot be started, or died; not the fault of what it ran."""


class ProtocolError(SvmconfError):
    """A peer (gdbstub, QMP, the probe) said something that its protocol does not allow."""


class DeadlineExceeded(SvmconfError):
    """Something took longer than its deadline allowed."""
