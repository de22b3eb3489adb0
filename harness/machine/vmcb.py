"""The VMCB: its bytes, by the names of APM vol. 2, appendix B.

>>> vmcb = Vmcb(bytes(0x1000))
>>> vmcb.cr0, vmcb["cr0"], vmcb.cs.attrib
(0, 0, 0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """A field: byte offset from the start of the VMCB, size in bytes."""

    offset: int
    size: int


def _segments() -> dict[str, Field]:
    names = ("es", "cs", "ss", "ds", "fs", "gs", "gdtr", "ldtr", "idtr", "tr")
    parts = (("selector", 0, 2), ("attrib", 2, 2), ("limit", 4, 4), ("base", 8, 8))
    return {
        f"{name}.{part}": Field(0x400 + 16 * n + at, size) for n, name in enumerate(names) for part, at, size in parts
    }


FIELDS: dict[str, Field] = {
    "intercept_cr_read": Field(0x000, 2),
    "intercept_cr_write": Field(0x002, 2),
    "intercept_dr_read": Field(0x004, 2),
    "intercept_dr_write": Field(0x006, 2),
    "intercept_exceptions": Field(0x008, 4),
    "intercept_misc1": Field(0x00C, 4),
    "intercept_misc2": Field(0x010, 4),
    "intercept_misc3": Field(0x014, 4),
    "pause_filter_threshold": Field(0x03C, 2),
    "pause_filter_count": Field(0x03E, 2),
    "iopm_base_pa": Field(0x040, 8),
    "msrpm_base_pa": Field(0x048, 8),
    "tsc_offset": Field(0x050, 8),
    "guest_asid": Field(0x058, 4),
    "tlb_control": Field(0x05C, 1),
    "vintr": Field(0x060, 8),
    "interrupt_state": Field(0x068, 8),
    "exitcode": Field(0x070, 8),
    "exitinfo1": Field(0x078, 8),
    "exitinfo2": Field(0x080, 8),
    "exitintinfo": Field(0x088, 8),
    "nested_control": Field(0x090, 8),
    "avic_apic_bar": Field(0x098, 8),
    "eventinj": Field(0x0A8, 8),
    "n_cr3": Field(0x0B0, 8),
    "virt_enables": Field(0x0B8, 8),
    "vmcb_clean": Field(0x0C0, 4),
    "nrip": Field(0x0C8, 8),
    "bytes_fetched": Field(0x0D0, 1),
    "avic_backing_page": Field(0x0E0, 8),
    "avic_logical_table": Field(0x0F0, 8),
    "avic_physical_table": Field(0x0F8, 8),
    **_segments(),
    "cpl": Field(0x4CB, 1),
    "efer": Field(0x4D0, 8),
    "cr4": Field(0x548, 8),
    "cr3": Field(0x550, 8),
    "cr0": Field(0x558, 8),
    "dr7": Field(0x560, 8),
    "dr6": Field(0x568, 8),
    "rflags": Field(0x570, 8),
    "rip": Field(0x578, 8),
    "rsp": Field(0x5D8, 8),
    "s_cet": Field(0x5E0, 8),
    "ssp": Field(0x5E8, 8),
    "isst_addr": Field(0x5F0, 8),
    "rax": Field(0x5F8, 8),
    "star": Field(0x600, 8),
    "lstar": Field(0x608, 8),
    "cstar": Field(0x610, 8),
    "sfmask": Field(0x618, 8),
    "kernel_gs_base": Field(0x620, 8),
    "sysenter_cs": Field(0x628, 8),
    "sysenter_esp": Field(0x630, 8),
    "sysenter_eip": Field(0x638, 8),
    "cr2": Field(0x640, 8),
    "g_pat": Field(0x668, 8),
    "dbgctl": Field(0x670, 8),
    "br_from": Field(0x678, 8),
    "br_to": Field(0x680, 8),
    "lastexcpfrom": Field(0x688, 8),
    "lastexcpto": Field(0x690, 8),
    "spec_ctrl": Field(0x6E0, 8),
}

MISC2_VMRUN = 1 << 0
"""The VMRUN intercept: bit 0 of ``intercept_misc2`` (offset 010h)."""

NP_ENABLE = 1 << 0
"""Nested paging: bit 0 of ``nested_control`` (offset 090h)."""

VMEXIT_INVALID = (1 << 64) - 1
"""The exit code of a VMRUN that was refused: -1 as a 64-bit number (SVM-15.5.1-C-031)."""

_PAGE_ADDRESS = ~0xFFF


class _Named:
    """A field as an attribute of a VMCB, by the attribute's own name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, vmcb: Vmcb, owner: type) -> int:
        return vmcb[self._name]

    def __set__(self, vmcb: Vmcb, value: int) -> None:
        vmcb[self._name] = value


class Segment:
    """A segment register, or a descriptor table's: ``selector``, ``attrib`` (15.5.1), ``limit``, ``base``."""

    def __init__(self, vmcb: Vmcb, name: str) -> None:
        self._vmcb = vmcb
        self._name = name

    def _part(name: str) -> Any:  # type: ignore[misc]  # noqa: N805
        def get(self: Segment) -> int:
            return self._vmcb[f"{self._name}.{name}"]

        def put(self: Segment, value: int) -> None:
            self._vmcb[f"{self._name}.{name}"] = value

        return property(get, put)

    selector: int = _part("selector")
    attrib: int = _part("attrib")
    limit: int = _part("limit")
    base: int = _part("base")


class _Segments:
    """A segment as an attribute of a VMCB."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, vmcb: Vmcb, owner: type) -> Segment:
        return Segment(vmcb, self._name)


class Vmcb:
    """4 KiB of VMCB. ``vmcb["guest_asid"]`` and ``vmcb.guest_asid`` read a field as a little-endian number.

    Writing a field raises :class:`TypeError`: this one was recorded (:class:`harness.lab.vmcb.Draft` can be written).
    """

    intercept_cr_read = _Named()
    intercept_cr_write = _Named()
    intercept_dr_read = _Named()
    intercept_dr_write = _Named()
    intercept_exceptions = _Named()
    intercept_misc1 = _Named()
    intercept_misc2 = _Named()
    intercept_misc3 = _Named()
    pause_filter_threshold = _Named()
    pause_filter_count = _Named()
    iopm_base_pa = _Named()
    msrpm_base_pa = _Named()
    tsc_offset = _Named()
    guest_asid = _Named()
    tlb_control = _Named()
    vintr = _Named()
    interrupt_state = _Named()
    exitcode = _Named()
    exitinfo1 = _Named()
    exitinfo2 = _Named()
    exitintinfo = _Named()
    nested_control = _Named()
    avic_apic_bar = _Named()
    eventinj = _Named()
    n_cr3 = _Named()
    virt_enables = _Named()
    vmcb_clean = _Named()
    nrip = _Named()
    bytes_fetched = _Named()
    avic_backing_page = _Named()
    avic_logical_table = _Named()
    avic_physical_table = _Named()
    cpl = _Named()
    efer = _Named()
    cr4 = _Named()
    cr3 = _Named()
    cr0 = _Named()
    dr7 = _Named()
    dr6 = _Named()
    rflags = _Named()
    rip = _Named()
    rsp = _Named()
    s_cet = _Named()
    ssp = _Named()
    isst_addr = _Named()
    rax = _Named()
    star = _Named()
    lstar = _Named()
    cstar = _Named()
    sfmask = _Named()
    kernel_gs_base = _Named()
    sysenter_cs = _Named()
    sysenter_esp = _Named()
    sysenter_eip = _Named()
    cr2 = _Named()
    g_pat = _Named()
    dbgctl = _Named()
    br_from = _Named()
    br_to = _Named()
    lastexcpfrom = _Named()
    lastexcpto = _Named()
    spec_ctrl = _Named()
    es = _Segments()
    cs = _Segments()
    ss = _Segments()
    ds = _Segments()
    fs = _Segments()
    gs = _Segments()
    gdtr = _Segments()
    ldtr = _Segments()
    idtr = _Segments()
    tr = _Segments()

    def __init__(self, data: bytes) -> None:
        if len(data) != 0x1000:
            raise ValueError(f"a VMCB has 4096 bytes, not {len(data)}")
        self.data = data

    def __getitem__(self, name: str) -> int:
        field = FIELDS[name]
        return int.from_bytes(self.data[field.offset : field.offset + field.size], "little")

    def __setitem__(self, name: str, value: int) -> None:
        raise TypeError(f"this VMCB was recorded: {name} cannot be written")

    @property
    def iopm_base(self) -> int:
        """Physical address of the I/O permission map; bits 11:0 are ignored (SVM-15.5.1-C-021)."""
        return self["iopm_base_pa"] & _PAGE_ADDRESS

    @property
    def msrpm_base(self) -> int:
        """Physical address of the MSR permission map; bits 11:0 are ignored."""
        return self["msrpm_base_pa"] & _PAGE_ADDRESS

    @property
    def refused(self) -> bool:
        """Whether VMRUN ended in VMEXIT_INVALID. Some engines write only 32 bits of it, which is a case's to judge."""
        return self["exitcode"] & 0xFFFF_FFFF == VMEXIT_INVALID & 0xFFFF_FFFF

    def decoded(self) -> dict[str, int]:
        """Every field that is not zero."""
        return {name: value for name in FIELDS if (value := self[name])}

    def text(self) -> str:
        """The non-zero fields for a person, one a line: offset, name, value."""
        return "\n".join(
            f"{FIELDS[name].offset:03X}h  {name:<24} {value:#0{2 + 2 * FIELDS[name].size}x}"
            for name, value in sorted(self.decoded().items(), key=lambda item: FIELDS[item[0]].offset)
        )
