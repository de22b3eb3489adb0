"""VMRUN as an instruction (15.4, 15.5.1, vol. 3): when it raises #UD or #GP(0) before it looks at a VMCB."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.cpuid import SVM
from harness.model.registers import Cr0, Efer, Rflags
from harness.model.rule import Effect, Violation, becoming, bits_of, clearing, rule, setting
from harness.model.state import State

PAGE = 0x1000
NEEDS_PAGE = "VMRUN needs the physical address of a 4-KiB-aligned page"


@rule("SVM-15.4-001", effect=Effect.UD)
def svm_absent(state: State) -> Iterator[Violation]:
    """VMRUN exists only where CPUID Fn8000_0001_ECX[SVM] is 1."""
    if not state.cpuid.has(SVM):
        yield Violation("CPUID", 0, f"{SVM} (SVM) is 0")


@rule("SVM-15.4-005", effect=Effect.UD)
def svme_clear(state: State) -> Iterator[Violation]:
    """VMRUN exists only while EFER.SVME is 1."""
    efer = state.host["efer"]
    if not efer & Efer.SVME:
        yield Violation("host.efer", efer, "SVME is 0", setting("host.efer", Efer.SVME))


@rule("SVM-15.5.1-003", effect=Effect.UD)
def not_protected(state: State) -> Iterator[Violation]:
    """VMRUN exists only in protected mode, virtual-8086 mode excluded."""
    if state.host.protected:
        return
    cr0 = state.host["cr0"]
    if not cr0 & Cr0.PE:
        yield Violation("host.cr0", cr0, "real mode: PE is 0", setting("host.cr0", Cr0.PE))
    else:
        rflags = state.host["rflags"]
        yield Violation("host.rflags", rflags, "virtual-8086 mode: VM is 1", clearing("host.rflags", Rflags.VM))


@rule("SVM-15.5.1-002", effect=Effect.GP)
def not_cpl_0(state: State) -> Iterator[Violation]:
    """VMRUN needs CPL 0."""
    cpl = state.host["cpl"]
    if cpl:
        yield Violation("host.cpl", cpl, f"CPL is {cpl}", becoming("host.cpl", cpl, 0))


@rule("SVM-15.5.1-004", "SVM-15.5.1-046", permits=("SVM-15.5.1-001", "SVM-15.5.1-045"), effect=Effect.GP)
def rax_unaligned(state: State) -> Iterator[Violation]:
    """The address in rAX must be that of a page: bits 11:0 are 0."""
    address = state.address
    low = address % PAGE
    if low:
        yield Violation("rAX", address, f"it is not 4-KiB-aligned: {bits_of('rAX', low)} set", clearing("rAX", low))


@rule("SVM-15.5.1-005", "SVM-15.5.1-046", permits=("SVM-15.5.1-001", "SVM-15.5.1-045"), effect=Effect.GP)
def rax_beyond(state: State) -> Iterator[Violation]:
    """The address in rAX must be below the maximum physical address."""
    address = state.address
    if not state.host.beyond(address):
        return
    if state.rax_maps_to is not None:
        page = state.rax_maps_to & -PAGE
        change = becoming("rAX", address, page | address % PAGE)
        yield Violation("rAX", address, f"it is a virtual address, of the page at {page:#x}", change)
    elif is_virtual(address):
        yield Violation("rAX", address, "it is a virtual address")
    else:
        change = clearing("rAX", address & ~state.host.address_mask)
        yield Violation("rAX", address, f"no physical address has {bits_of('rAX', change.mask)} set", change)


def is_virtual(address: int) -> bool:
    """Whether it looks like a linear address of the upper half: bits 63:47 set. No physical address has 63 set."""
    return address >> 47 == 0x1FFFF
