"""The consistency checks of the VMCB's control area (15.5.1, 15.21.10, 15.29)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.cpuid import X2AVIC
from harness.model.registers import Misc1, Misc2, Nested, Vintr
from harness.model.rule import Effect, Violation, becoming, clearing, nearest, rule, setting
from harness.model.state import State

_PAGE = 0x1000
_MOST_TRIED = 1 << 16


@rule("SVM-15.5.1-C-017", "SVM-15.5.1-C-018")
def vmrun_intercept(state: State) -> Iterator[Violation]:
    """The VMRUN intercept must be set."""
    misc2 = state["intercept_misc2"]
    if not misc2 & Misc2.VMRUN:
        change = setting("intercept_misc2", Misc2.VMRUN)
        yield Violation("intercept_misc2", misc2, "the VMRUN intercept (bit 0) is 0", change)


@rule("SVM-15.5.1-C-019", permits=("SVM-15.5.1-C-021",))
def msrpm_beyond(state: State) -> Iterator[Violation]:
    """The MSR permission map, 8 KiB, must end within physical memory."""
    yield from _map(state, "msrpm_base_pa", 0x2000)


@rule("SVM-15.5.1-C-020", permits=("SVM-15.5.1-C-021",))
def iopm_beyond(state: State) -> Iterator[Violation]:
    """The I/O permission map, 12 KiB, must end within physical memory."""
    yield from _map(state, "iopm_base_pa", 0x3000)


@rule("SVM-15.5.1-C-022", "SVM-15.5.1-037")
def asid_zero(state: State) -> Iterator[Violation]:
    """The ASID must not be 0, which is the host's."""
    if state["guest_asid"] == 0:
        yield Violation("guest_asid", 0, "it is the host's", setting("guest_asid", 1))


@rule("SVM-15.5.1-037", permits=("SVM-15.5.1-C-035",), effect=Effect.UNDEFINED)
def asid_beyond(state: State) -> Iterator[Violation]:
    """The ASID must be below the number that CPUID Fn8000_000A_EBX reports."""
    asid = state["guest_asid"]
    if asid <= 1:  # legal wherever there is one at all
        return
    count = state.cpuid.asids
    if asid >= count:
        legal = nearest(asid, range(1, max(2, min(count, _MOST_TRIED))))
        change = becoming("guest_asid", asid, legal)
        yield Violation("guest_asid", asid, f"there are {count} ASIDs, the host's 0 included", change)


@rule("SVM-15.21.10-001")
def vnmi_without_intercept(state: State) -> Iterator[Violation]:
    """V_NMI_ENABLE needs the NMI intercept."""
    misc1 = state["intercept_misc1"]
    if state["vintr"] & Vintr.V_NMI_ENABLE and not misc1 & Misc1.NMI:
        change = setting("intercept_misc1", Misc1.NMI)
        yield Violation("intercept_misc1", misc1, "the NMI intercept is 0 while V_NMI_ENABLE is 1", change)


@rule("SVM-15.29-004")
def x2avic_without_avic(state: State) -> Iterator[Violation]:
    """x2AVIC may be enabled only together with AVIC."""
    vintr = state["vintr"]
    if vintr & Vintr.X2AVIC_ENABLE and not vintr & Vintr.AVIC_ENABLE:
        change = clearing("vintr", Vintr.X2AVIC_ENABLE)
        yield Violation("vintr", vintr, "x2AVIC is enabled while AVIC is not", change)


@rule("SVM-15.29-001", effect=Effect.UNDEFINED)
def avic_without_nested_paging(state: State) -> Iterator[Violation]:
    """AVIC needs nested paging."""
    vintr = state["vintr"]
    if vintr & Vintr.AVIC_ENABLE and not state["nested_control"] & Nested.NP_ENABLE:
        change = clearing("vintr", Vintr.AVIC_ENABLE)
        yield Violation("vintr", vintr, "AVIC is enabled while nested paging is not", change)


@rule("SVM-15.29-005")
def avic_address(state: State) -> Iterator[Violation]:
    """The addresses of AVIC's backing page and tables must lie in physical memory."""
    if not state["vintr"] & Vintr.AVIC_ENABLE:
        return
    for field in ("avic_backing_page", "avic_logical_table", "avic_physical_table"):
        value = state[field]
        if state.host.beyond(value):
            change = clearing(field, value & ~state.host.address_mask)
            yield Violation(field, value, "it lies beyond physical memory", change)


@rule("SVM-15.29-006")
def avic_index(state: State) -> Iterator[Violation]:
    """AVIC_PHYSICAL_MAX_INDEX must be at most 255, with x2AVIC at most 511."""
    vintr = state["vintr"]
    if not vintr & Vintr.AVIC_ENABLE:
        return
    table = state["avic_physical_table"]
    index = table & 0xFFF
    if index <= 255:
        return
    most = 511 if vintr & Vintr.X2AVIC_ENABLE and state.cpuid.has(X2AVIC) else 255
    if index > most:
        change = clearing("avic_physical_table", index & ~most)
        yield Violation("avic_physical_table", table, f"MAX_INDEX is {index}, at most {most} is legal", change)


def _map(state: State, field: str, size: int) -> Iterator[Violation]:
    """A map ends where its last byte is; bits 11:0 of its base do not count."""
    base = state[field]
    last = (base & -_PAGE) + size - 1
    if state.host.beyond(last):
        change = clearing(field, _excess(base, size, state.host.address_mask))
        yield Violation(field, base, f"its last byte would be at {last:#x}, beyond physical memory", change)


def _excess(base: int, size: int, greatest: int) -> int:
    """The bits to clear so that the map ends in memory: those above it, and then the lowest one that is enough."""
    high = base & ~greatest
    left = base & greatest & -_PAGE
    candidates = (0, *(1 << n for n in range(12, left.bit_length()) if left >> n & 1))
    return high | next(bit for bit in candidates if left - bit + size - 1 <= greatest)
