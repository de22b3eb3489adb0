"""What a case asks for, as plain data: which software boots, with which faults injected, and what is watched."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from harness.guests.linux import Linux


class Insn(StrEnum):
    """Instructions that can be watched or tampered with, found in any image by their bytes."""

    CPUID = "cpuid"
    RDMSR = "rdmsr"
    WRMSR = "wrmsr"
    VMRUN = "vmrun"
    VMMCALL = "vmmcall"
    VMLOAD = "vmload"
    VMSAVE = "vmsave"
    STGI = "stgi"
    CLGI = "clgi"
    SKINIT = "skinit"
    INVLPGA = "invlpga"
    EXIT = "out 0xf4"
    """Not an instruction of interest by itself: the write to the exit port, before which the last state is read."""

    @property
    def opcodes(self) -> tuple[bytes, ...]:
        """Its encodings (vol. 3)."""
        return _OPCODES[self]


_OPCODES = {
    Insn.CPUID: (b"\x0f\xa2",),
    Insn.RDMSR: (b"\x0f\x32",),
    Insn.WRMSR: (b"\x0f\x30",),
    **{
        insn: (bytes((0x0F, 0x01, 0xD8 + n)),)
        for n, insn in enumerate(
            (Insn.VMRUN, Insn.VMMCALL, Insn.VMLOAD, Insn.VMSAVE, Insn.STGI, Insn.CLGI, Insn.SKINIT, Insn.INVLPGA)
        )
    },
    Insn.EXIT: (b"\xe6\xf4", b"\xe7\xf4"),
}

SVM_INSNS = frozenset(Insn) - {Insn.CPUID, Insn.RDMSR, Insn.WRMSR, Insn.EXIT}
"""The instructions that need EFER.SVME (15.4)."""


class Fault(BaseModel):
    """A lie told to the software under test: what one instruction returns to it, or that it does nothing at all.

    An engine that can be configured so that it is no lie does that instead, and the observation says so
    (:attr:`harness.observation.Observation.arranged`): what CPUID offers, or what firmware left in an MSR.

    ``select`` is the MSR (ECX) or CPUID leaf (EAX) it applies to; ``None`` for every one. ``force`` holds, per
    register, the bits to set and the bits to clear in what the instruction returned. With ``skip`` the instruction is
    passed over as if it were a NOP: a seeded defect of the *engine*, for cases that judge engines, or what it lacks.
    ``spare`` is how many executions are left alone first; with ``since`` all are, until a WRMSR of that register.
    """

    model_config = ConfigDict(frozen=True)

    insn: Insn
    select: int | None = None
    force: dict[str, tuple[int, int]] = {}
    skip: bool = False
    spare: int = 0
    since: int | None = None

    def applies(self, insn: Insn, registers: dict[str, int]) -> bool:
        """Whether it is about this instruction with these registers before it."""
        chosen = registers["rax" if insn is Insn.CPUID else "rcx"] & 0xFFFF_FFFF
        return self.insn is insn and self.select in (None, chosen)

    def lasts(self, faults: tuple[Fault, ...]) -> bool:
        """Whether an engine may be configured so for the whole boot: neither this nor another like it comes later."""
        alike = (other for other in faults if (other.insn, other.select) == (self.insn, self.select))
        return not (self.skip or self.spare or any(other.since is not None for other in alike))

    def __str__(self) -> str:
        where = "" if self.select is None else f" {self.select:#x}"
        if self.skip:
            return f"{self.insn}{where} does nothing"
        return f"{self.insn}{where}: " + ", ".join(
            f"{name} |= {on:#x}" + (f", &= ~{off:#x}" if off else "") for name, (on, off) in self.force.items()
        )


class Spoil(BaseModel):
    """Bytes that the VMCB holds after a #VMEXIT, put there from outside: what the manual leaves undefined.

    :param offset: in the VMCB, :param data: the bytes, in hexadecimal.
    :param exits: only after exits of these codes, from the first to the last; after all without.
    """

    model_config = ConfigDict(frozen=True)

    offset: int
    data: str
    exits: tuple[int, int] | None = None

    def applies(self, exit_code: int) -> bool:
        """Whether it is about an exit of this code."""
        return self.exits is None or self.exits[0] <= exit_code <= self.exits[1]


class Boot(BaseModel):
    """One boot of a hypervisor.

    :param name: tells this boot from a case's others.
    :param guest: the guest to run, by a name that the manifest knows; ``None`` for the manifest's own default.
    :param any_guest: where the manifest offers no such guest, its own default will do.
    :param count: how often a looping guest loops.
    :param as_often_as_asked: the run says how often (``--operations``); without that there is no such boot.
    :param words: further words for the command line.
    :param faults: what the software is lied to about.
    :param spoils: what is written into its VMCBs after each #VMEXIT that is watched.
    :param memory: MiB that the machine has; the manifest says when absent.
    :param linux: the Linux that the guest is, handed over as boot modules; only with a manifest that takes them.
    :param processors: how many the machine has; a Linux says so itself.
    :param vmruns: how many VMRUNs are watched at one place; fewer when absent (:func:`harness.machine.trace.budget`).
    :param guard_hsave: watch every access to the host save area from the moment VM_HSAVE_PA is written.
    :param seconds: how long it may take; the manifest says when absent.
    """

    model_config = ConfigDict(frozen=True)

    name: str = ""
    guest: str | None = None
    any_guest: bool = False
    count: int | None = None
    as_often_as_asked: bool = False
    words: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    spoils: tuple[Spoil, ...] = ()
    memory: int | None = None
    linux: Linux | None = None
    processors: int = Field(default=1, ge=1, le=8)
    vmruns: int | None = None
    guard_hsave: bool = False
    seconds: float | None = None

    @property
    def all_processors(self) -> int:
        """How many processors the machine must have."""
        return self.linux.processors if self.linux else self.processors
