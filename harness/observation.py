"""What came back from a machine, as plain data. Verdicts are functions of this and nothing else.

An observation is written to the ledger and read back from it; judging it again needs no machine.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from harness.boot import SVM_INSNS, Boot, Fault, Insn
from harness.machine.ending import Ending
from harness.machine.pagewalk import Mapping
from harness.machine.records import Record
from harness.machine.registers import EFER_SVME, Registers
from harness.machine.vmcb import Vmcb
from harness.msr import Msr


def _unpack(value: object) -> object:
    return zlib.decompress(base64.b64decode(value)) if isinstance(value, str) else value


Blob = Annotated[
    bytes,
    BeforeValidator(_unpack),
    PlainSerializer(lambda data: base64.b64encode(zlib.compress(data)).decode(), return_type=str, when_used="json"),
]
"""Bytes that are compressed in JSON."""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class Event(_Plain):
    """One watched instruction that the software under test executed, seen from outside.

    ``answered_by`` names the layer that answered, on an engine that has several and can tell.
    ``before`` and ``after`` hold rax, rbx, rcx, rdx, rip, rsp, eflags and efer around it; ``after`` is empty when the
    machine did not come back. ``vmcb`` is the page at rAX at a VMRUN, ``vmcb_after`` the same page at the instruction
    after it. ``tampered`` tells that a fault was injected here, of a VMRUN also that its VMCB was spoilt after it.
    ``processor`` is which of several executed it, from 0.
    """

    insn: Insn
    cpl: int
    before: dict[str, int]
    after: dict[str, int] = {}
    where: str = ""
    tampered: bool = False
    processor: int = 0
    answered_by: str = ""
    vmcb: Blob | None = None
    vmcb_after: Blob | None = None

    @property
    def msr(self) -> int:
        """ECX: the MSR of an RDMSR or WRMSR."""
        return self.before["rcx"] & 0xFFFFFFFF

    @property
    def leaf(self) -> int:
        """EAX: the leaf of a CPUID."""
        return self.before["rax"] & 0xFFFFFFFF

    @property
    def written(self) -> int:
        """EDX:EAX: what a WRMSR writes."""
        return (self.before["rdx"] & 0xFFFFFFFF) << 32 | self.before["rax"] & 0xFFFFFFFF

    @property
    def returned(self) -> int:
        """EDX:EAX: what an RDMSR returned (with faults injected, what the software saw)."""
        return (self.after["rdx"] & 0xFFFFFFFF) << 32 | self.after["rax"] & 0xFFFFFFFF

    @property
    def completed(self) -> bool:
        """Whether execution went on behind the instruction rather than in a fault handler."""
        length = len(self.insn.opcodes[0])
        return self.after.get("rip") == self.before["rip"] + length


class Access(_Plain):
    """An access of the software under test to memory that was guarded."""

    address: int
    rip: int
    where: str


class Tried(_Plain):
    """An entry of a guest's witness: what it tried, the vector it faulted with (``None``: none), the value it read."""

    vector: int | None
    error: int
    value: int


class Alone(_Plain):
    """What a Linux showed on the engine itself, without a hypervisor: what it shows under one is compared with that.

    ``seconds`` from the machine's first instruction to its end.
    """

    ended: Ending
    console: str
    seconds: float


class Guest(_Plain):
    """One of several guests, or of several processors of one: what belongs to its VMCB.

    That is the VMCB's address, the host's registers at its first VMRUN, what it could reach at the end, and a witness.
    """

    vmcb: int
    host: Registers | None = None
    mappings: list[Mapping] = []
    tables: list[int] = []
    witness: dict[str, Tried] = {}


class Constant(_Plain):
    """Memory of the software under test that is meant to stay as it is: hashes at the first VMRUN, and at the end."""

    name: str
    address: int
    size: int
    before: str
    after: str


class Observation(_Plain):
    """Everything that one boot of a hypervisor showed.

    The trace leaves nothing out up to event ``trace_whole``; then places that execute again and again are watched no
    longer (``trace_cut`` names them). ``host`` are the registers at the first VMRUN, ``host_again`` those at the
    second, ``final`` those at the end, which may be a guest's; ``gdt`` is the host's GDT at the first VMRUN.
    ``mappings`` are the guest's translations, ``host_mappings`` the host's own at the first VMRUN, neighbours put
    together; ``msrpm`` and ``iopm`` are the permission maps (15.11, 15.10) of the VMCB that was run last. Of several
    guests ``mappings``, ``tables`` and ``witness`` are those of the one whose VMRUN was watched last; ``guests`` has
    those of each. ``alone`` is the boot's Linux without the hypervisor on the same machine.

    ``arranged`` are those of the boot's faults that were no lie: the machine was really configured that way. The others
    were injected at the instruction (``Event.tampered``). ``layers`` says which layers the engine has, from the top,
    and what is known of which answered, where there are several.
    """

    engine: str
    engine_version: str
    cpu: str
    boot: Boot
    arranged: tuple[Fault, ...] = ()
    layers: list[str] = []
    command: list[str]
    image_sha256: str
    ended: Ending
    outcome: str | None = None
    records: list[Record] = []
    damage: list[str] = []
    console: str = ""
    trace: list[Event] = []
    trace_cut: list[str] = []
    trace_whole: int = 0
    accesses: list[Access] = []
    guarded: tuple[int, int] | None = None
    guarded_vmruns: int = 0
    final: Registers | None = None
    host: Registers | None = None
    host_again: Registers | None = None
    gdt: Blob | None = None
    vmcb: Blob | None = None
    constants: list[Constant] = []
    alone: Alone | None = None
    mappings: list[Mapping] = []
    host_mappings: list[Mapping] = []
    msrpm: Blob | None = None
    iopm: Blob | None = None
    tables: list[int] = []
    witness: dict[str, Tried] = {}
    guests: list[Guest] = []
    ram_size: int = 0
    image_extent: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    boot_seconds: float = 0.0

    def executed(self, *insns: Insn) -> list[Event]:
        """The events of these instructions, in order."""
        return [e for e in self.trace if e.insn in insns]

    def given_up(self, *insns: Insn) -> list[str]:
        """Places of these instructions that were watched no longer at some point: what they did then is not known."""
        return [cut for cut in self.trace_cut if any(cut.startswith(f"{insn} at") for insn in insns)]

    def svm_executed(self) -> list[Event]:
        """The events of any instruction that needs SVM."""
        return [e for e in self.trace if e.insn in SVM_INSNS]

    def read(self, msr: Msr) -> bool:
        """Whether the software read that MSR, and was not faulted for it."""
        return any(e.msr == msr and e.completed for e in self.executed(Insn.RDMSR))

    def wrote(self, msr: Msr) -> list[Event]:
        """The WRMSRs to that register."""
        return [e for e in self.executed(Insn.WRMSR) if e.msr == msr]

    def first_svme(self) -> int | None:
        """The place in the trace of the first WRMSR that sets EFER.SVME."""
        return self.first(e for e in self.wrote(Msr.EFER) if e.written & EFER_SVME)

    def first(self, events: Iterable[Event]) -> int | None:
        """The place in the trace of the first of some events."""
        event = next(iter(events), None)
        return None if event is None else next(n for n, e in enumerate(self.trace) if e is event)

    def svme_seen(self) -> list[str]:
        """Every place where EFER.SVME was seen set, for a message."""
        seen = [e.where for e in self.trace if (e.before["efer"] | e.after.get("efer", 0)) & EFER_SVME]
        if self.final is not None and self.final.svme:
            seen.append("at the end")
        return seen

    @property
    def hsave(self) -> int | None:
        """What VM_HSAVE_PA held at the last VMRUN that was watched; without one, what was written last, if anything."""
        value = at_vmrun = None
        for event in self.trace:
            if event.insn is Insn.WRMSR and event.msr == Msr.VM_HSAVE_PA and event.completed:
                value = event.written
            elif event.insn is Insn.VMRUN:
                at_vmrun = value
        return value if at_vmrun is None else at_vmrun

    def vmruns(self) -> list[tuple[Event, Vmcb]]:
        """The watched VMRUNs whose rAX pointed into RAM, with the VMCB that they found there."""
        return [(e, Vmcb(e.vmcb)) for e in self.executed(Insn.VMRUN) if e.vmcb is not None]

    @property
    def guest_ran(self) -> bool:
        """Whether a guest ran: a VMRUN came back with an exit code that is not VMEXIT_INVALID."""
        return any(e.vmcb_after is not None and not Vmcb(e.vmcb_after).refused for e in self.executed(Insn.VMRUN))

    def of_kind(self, kind: str) -> Iterator[Record]:
        """The software's own records of a kind: claims, not evidence."""
        return (r for r in self.records if r.kind == kind)

    def host_pages(self) -> dict[str, tuple[int, int]]:
        """Physical ranges that the software handed to the processor, by what for: (address, size) each."""
        pages: dict[str, tuple[int, int]] = {}
        for event, vmcb in self.vmruns():
            pages["VMCB"] = (event.before["rax"], 0x1000)
            pages["IOPM"] = (vmcb.iopm_base, 0x3000)
            pages["MSRPM"] = (vmcb.msrpm_base, 0x2000)
        for number, table in enumerate(self.tables):
            pages[f"guest's page table {number}"] = (table, 0x1000)
        if self.host is not None:
            pages["host page table root"] = (self.host["cr3"] & ~0xFFF, 0x1000)
            pages["host stack"] = (self.host["rsp"] & ~0xFFF, 0x1000)
            for name in ("gdt", "idt"):  # TR and LDTR are the guest's already (VMLOAD)
                base, limit = self.host.tables.get(name, (0, 0))
                if base:
                    pages[f"host {name.upper()}"] = (base, limit + 1)
        return pages
