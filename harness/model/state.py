"""All that decides what VMRUN does: the processor at that moment, rAX, and the VMCB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

from harness.machine.vmcb import FIELDS, Vmcb
from harness.model.citing import cites
from harness.model.cpuid import LEAST, Cpuid, Unknown
from harness.model.registers import Attrib, Cr0, Efer, Rflags

_LEAST_BITS, _MOST_BITS = 32, 52
"""A physical address has at least and at most so many bits."""

Register = Literal["efer", "cr0", "cr4", "rflags", "cpl", "vm_hsave_pa", "u_cet"]


@dataclass(frozen=True)
class Processor:
    """The processor that executes VMRUN; ``None`` is what is not known.

    :param physical_bits: width of a physical address, where it is known other than by CPUID.
    :param address_bits: effective address size of the VMRUN: how much of rAX counts (SVM-15.5.1-001).
    """

    cpuid: Cpuid = LEAST
    efer: int | None = None
    cr0: int | None = None
    cr4: int | None = None
    rflags: int | None = None
    cpl: int | None = None
    vm_hsave_pa: int | None = None
    u_cet: int | None = None
    physical_bits: int | None = None
    address_bits: int = 64

    def __getitem__(self, name: Register) -> int:
        """A register; raise :class:`Unknown` when it is not known."""
        value: int | None = getattr(self, name)
        if value is None:
            raise Unknown(f"the host's {name.upper()}")
        return value

    @property
    def protected(self) -> bool:
        """Whether it is in protected mode, and not in virtual-8086 mode; in long mode it is."""
        if self.efer is not None and self.efer & Efer.LMA:
            return True
        return bool(self["cr0"] & Cr0.PE) and not self["rflags"] & Rflags.VM

    @property
    def paging(self) -> bool:
        """Whether CR0.PG is set; in long mode it is."""
        if self.efer is not None and self.efer & Efer.LMA:
            return True
        return bool(self["cr0"] & Cr0.PG)

    @property
    def limit(self) -> int:
        """The first address beyond physical memory; raise :class:`Unknown` when its width is not known."""
        return 1 << (self.physical_bits or self.cpuid.physical_bits)

    def beyond(self, address: int) -> bool:
        """Whether an address is beyond physical memory; of most that is clear without its width."""
        if address < 1 << _LEAST_BITS:
            return False
        return address >= 1 << _MOST_BITS or address >= self.limit

    @property
    def address_mask(self) -> int:
        """The bits that a physical address may have set: what is known of them, at most 52."""
        try:
            return self.limit - 1
        except Unknown:
            return (1 << _MOST_BITS) - 1


HOST = Processor(
    efer=Efer.SVME | Efer.LME | Efer.LMA | Efer.NXE | Efer.SCE,
    cr0=Cr0.PG | Cr0.WP | Cr0.NE | Cr0.ET | Cr0.PE,
    cr4=1 << 5,
    rflags=2,
    cpl=0,
)
"""A host as it should be: 64-bit mode, CPL 0, EFER.SVME set; its CPUID is not known."""


@dataclass(frozen=True)
class State:
    """What VMRUN finds. ``vmcb`` are the bytes at the physical address in rAX, where that is known.

    :param rax_maps_to: the physical address that the host's page tables have for rAX as a linear address, if any.
    :param pdptes: the four entries at the guest's CR3, for a guest in PAE paging (SVM-15.5.1-031).
    """

    host: Processor = HOST
    rax: int | None = None
    vmcb: Vmcb | None = None
    rax_maps_to: int | None = None
    pdptes: tuple[int, int, int, int] | None = None

    def __getitem__(self, name: str) -> int:
        """A field of the VMCB (:data:`harness.machine.vmcb.FIELDS`); raise :class:`Unknown` without a VMCB."""
        if self.vmcb is None:
            raise Unknown("the VMCB")
        return self.vmcb[name]

    @property
    def cpuid(self) -> Cpuid:
        """What the processor reports."""
        return self.host.cpuid

    @property
    def address(self) -> int:
        """rAX as VMRUN uses it; raise :class:`Unknown` when it is not known."""
        if self.rax is None:
            raise Unknown("rAX")
        return self.rax & ((1 << self.host.address_bits) - 1)

    @cached_property
    def guest(self) -> Guest:
        """The mode that the guest would run in."""
        return Guest.of(self)

    def with_field(self, name: str, value: int) -> Self:
        """The same with another value of a field: the VMCB's, ``rAX``, or the host's (``host.efer``)."""
        if name == "rAX":
            return replace(self, rax=value)
        if name.startswith("host."):
            register: dict[str, int] = {name.removeprefix("host."): value}
            return replace(self, host=replace(self.host, **register))  # type: ignore[arg-type]
        if self.vmcb is None:
            raise Unknown("the VMCB")
        return replace(self, vmcb=with_field(self.vmcb, name, value))


def with_field(vmcb: Vmcb, name: str, value: int) -> Vmcb:
    """A VMCB with another value of one field."""
    place = FIELDS[name]
    data = bytearray(vmcb.data)
    data[place.offset : place.offset + place.size] = value.to_bytes(place.size, "little")
    return Vmcb(bytes(data))


@dataclass(frozen=True)
class Guest:
    """The mode that a VMCB describes, as VMRUN takes it.

    ``long`` follows LME and PG, whatever LMA says (SVM-15.5.1-C-016); ``cpl`` is forced in real and virtual-8086 mode
    (SVM-15.5.1-029, -030).
    """

    protected: bool
    v86: bool
    paging: bool
    long: bool
    in_64_bit: bool
    cpl: int

    @classmethod
    @cites("SVM-15.5.1-C-016", "SVM-15.5.1-028", "SVM-15.5.1-029", "SVM-15.5.1-030")
    def of(cls, state: State) -> Self:
        """From a VMCB; raise :class:`Unknown` without one."""
        cr0 = state["cr0"]
        protected = bool(cr0 & Cr0.PE)
        paging = bool(cr0 & Cr0.PG)
        long = paging and bool(state["efer"] & Efer.LME)
        v86 = protected and not long and bool(state["rflags"] & Rflags.VM)
        return cls(
            protected=protected,
            v86=v86,
            paging=paging,
            long=long,
            in_64_bit=long and bool(state["cs.attrib"] & Attrib.L),
            cpl=3 if v86 else state["cpl"] & 3 if protected else 0,
        )
