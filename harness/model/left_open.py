"""What software must not ask of VMRUN though the manual does not say that it refuses (15.4, 15.16, 15.30, 15.34)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model import cpuid
from harness.model.registers import Nested, Vintr, Virt
from harness.model.rule import Effect, Violation, becoming, clearing, nearest, rule
from harness.model.state import State
from harness.spec.gate import Bit

_OFFERED: dict[str, dict[int, Bit]] = {
    "nested_control": {
        Nested.SEV: cpuid.SEV,
        Nested.SEV_ES: cpuid.SEV_ES,
        Nested.GMET: cpuid.GMET,
        Nested.SSS_CHECK: cpuid.SSS_CHECK,
        Nested.ROGPT: cpuid.ROGPT,
        Nested.INVLPGB: cpuid.TLBI_CTL,
    },
    "virt_enables": {
        Virt.LBR: cpuid.LBR_VIRT,
        Virt.VMLOAD_VMSAVE: cpuid.VMSAVE_VIRT,
        Virt.IBS: cpuid.IBS_VIRT,
        Virt.PMC: cpuid.PMC_VIRT,
    },
    "vintr": {
        Vintr.V_GIF_ENABLE: cpuid.VGIF,
        Vintr.V_NMI_ENABLE: cpuid.VNMI,
        Vintr.AVIC_ENABLE: cpuid.AVIC,
        Vintr.X2AVIC_ENABLE: cpuid.X2AVIC,
    },
}
"""What a VMCB may ask for, and the bit of CPUID that offers it."""

_UNUSED = ((0x018, 0x03C), (0x05E, 0x060), (0x0C4, 0x0C8), (0x0E8, 0x0F0), (0x100, 0x108), (0x122, 0x134),
           (0x148, 0x150), (0x170, 0x3E0))  # fmt: skip
"""Bytes of the control area that have no meaning on any processor: from, up to (not including)."""


@rule("SVM-15.4-015", effect=Effect.UNDEFINED)
def feature_absent(state: State) -> Iterator[Violation]:
    """A feature may be asked for only where CPUID offers it."""
    for field, offered in _OFFERED.items():
        value = state[field]
        absent = {bit: feature for bit, feature in offered.items() if value & bit and not state.cpuid.has(feature)}
        if absent:
            names = ", ".join(f"{feature.name} (CPUID {feature} is 0)" for feature in absent.values())
            yield Violation(field, value, f"it asks for {names}", clearing(field, sum(absent)))


@rule("SVM-15.16.1-006", permits=("SVM-15.16.1-001", "SVM-15.16.1-002"), effect=Effect.UNDEFINED)
def tlb_control(state: State) -> Iterator[Violation]:
    """TLB_CONTROL must be 0 or 1, or 3 or 7 where FlushByAsid is offered."""
    value = state["tlb_control"]
    if value in (0, 1):
        return
    legal = (0, 1, 3, 7) if state.cpuid.has(cpuid.FLUSH_BY_ASID) else (0, 1)
    if value not in legal:
        change = becoming("tlb_control", value, nearest(value, legal))
        yield Violation("tlb_control", value, f"only {', '.join(map(str, legal))} are defined here", change)


@rule(*(f"SVM-15.34.3-{number:03}" for number in (1, 2, 3, 4)), effect=Effect.UNDEFINED)
def encrypted(state: State) -> Iterator[Violation]:
    """Guests with encrypted memory or state are outside of this model."""
    value = state["nested_control"]
    asked = value & (Nested.SEV | Nested.SEV_ES | Nested.VTE)
    if asked:
        change = clearing("nested_control", asked)
        yield Violation("nested_control", value, "SEV is asked for: what follows is not modelled", change)


@rule("SVM-B-002", effect=Effect.UNDEFINED)
def unused_bytes(state: State) -> Iterator[Violation]:
    """The unused bytes of the control area must be 0."""
    _ = state["exitcode"]
    assert state.vmcb is not None
    for start, end in _UNUSED:
        found = state.vmcb.data[start:end]
        if any(found):
            at = start + next(n for n, byte in enumerate(found) if byte)
            yield Violation(f"{at:03X}h", state.vmcb.data[at], "an unused byte of the control area is not 0")


@rule("SVM-15.5.1-007", effect=Effect.UNDEFINED)
def no_host_save_area(state: State) -> Iterator[Violation]:
    """VM_HSAVE_PA must hold the address of a page before the first VMRUN."""
    page = state.host.vm_hsave_pa
    if page == 0:
        yield Violation("host.vm_hsave_pa", 0, "no page was given to the processor for the host's state")
