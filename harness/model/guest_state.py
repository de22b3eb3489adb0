"""The consistency checks of the guest's registers (15.5.1): what makes VMRUN end in VMEXIT_INVALID."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.cpuid import CR4_BITS, EFER_BITS, LM, Unknown
from harness.model.registers import Attrib, Cr0, Cr4, Efer, Nested, Rflags
from harness.model.rule import Effect, Violation, bits_of, clearing, rule, setting
from harness.model.state import State

_HIGH = 0xFFFF_FFFF_0000_0000
_CR4, _EFER = sum(CR4_BITS), sum(EFER_BITS)


@rule("SVM-15.5.1-C-001")
def efer_svme(state: State) -> Iterator[Violation]:
    """The guest's EFER.SVME must be 1."""
    efer = state["efer"]
    if not efer & Efer.SVME:
        yield Violation("efer", efer, "SVME is 0", setting("efer", Efer.SVME))


@rule("SVM-15.5.1-C-002", permits=("SVM-15.5.1-C-003",))
def nw_without_cd(state: State) -> Iterator[Violation]:
    """CR0.NW may be set only together with CR0.CD."""
    cr0 = state["cr0"]
    if cr0 & Cr0.NW and not cr0 & Cr0.CD:
        yield Violation("cr0", cr0, "NW is 1 while CD is 0", clearing("cr0", Cr0.NW))


@rule("SVM-15.5.1-C-004")
def cr0_high(state: State) -> Iterator[Violation]:
    """CR0[63:32] must be 0."""
    yield from _high_half(state, "cr0")


@rule("SVM-15.5.1-C-005", permits=("SVM-15.5.1-C-006",))
def cr3_mbz(state: State) -> Iterator[Violation]:
    """CR3 must have no bit set that must be 0: in long mode those from the physical address width on."""
    cr3 = state["cr3"]
    if state.guest.long:
        if state.host.beyond(cr3):
            change = clearing("cr3", cr3 & ~state.host.address_mask)
            yield Violation("cr3", cr3, f"{bits_of('cr3', change.mask)} set, at or above the address width", change)
    elif cr3 & _HIGH:
        why = f"{bits_of('cr3', cr3 & _HIGH)} set outside long mode, where CR3 has 32 bits: some processors refuse it"
        yield Violation("cr3", cr3, why, clearing("cr3", cr3 & _HIGH), effect=Effect.UNDEFINED)


@rule("SVM-15.5.1-C-007")
def cr4_reserved(state: State) -> Iterator[Violation]:
    """CR4 must have no bit set that no feature defines."""
    yield from _undefined(state, "cr4", _CR4)


@rule("SVM-15.5.1-C-036")
def cr4_of_absent_feature(state: State) -> Iterator[Violation]:
    """CR4 must have no bit set of a feature that CPUID does not report."""
    yield from _absent(state, "cr4", state["cr4"] & _CR4, state.cpuid.cr4_bits)


@rule("SVM-15.5.1-C-008")
def dr6_high(state: State) -> Iterator[Violation]:
    """DR6[63:32] must be 0."""
    yield from _high_half(state, "dr6")


@rule("SVM-15.5.1-C-009")
def dr7_high(state: State) -> Iterator[Violation]:
    """DR7[63:32] must be 0."""
    yield from _high_half(state, "dr7")


@rule("SVM-15.5.1-C-010")
def efer_reserved(state: State) -> Iterator[Violation]:
    """EFER must have no bit set that no feature defines."""
    yield from _undefined(state, "efer", _EFER)


@rule("SVM-15.5.1-C-037")
def efer_of_absent_feature(state: State) -> Iterator[Violation]:
    """EFER must have no bit set of a feature that CPUID does not report."""
    yield from _absent(state, "efer", state["efer"] & _EFER, state.cpuid.efer_bits)


@rule("SVM-15.5.1-C-011")
def no_long_mode(state: State) -> Iterator[Violation]:
    """EFER.LME and EFER.LMA must be 0 on a processor without long mode."""
    efer = state["efer"]
    set_ = efer & (Efer.LME | Efer.LMA)
    if set_ and not state.cpuid.has(LM):
        yield Violation("efer", efer, f"{bits_of('efer', set_)} set without long mode", clearing("efer", set_))


@rule("SVM-15.5.1-C-012", permits=("SVM-15.5.1-C-016",))
def long_mode_without_pae(state: State) -> Iterator[Violation]:
    """With EFER.LME and CR0.PG set CR4.PAE must be 1."""
    cr4 = state["cr4"]
    if state.guest.long and not cr4 & Cr4.PAE:
        yield Violation("cr4", cr4, "PAE is 0 while EFER.LME and CR0.PG are 1", setting("cr4", Cr4.PAE))


@rule("SVM-15.5.1-C-013", permits=("SVM-15.5.1-C-016", "SVM-15.5.1-C-027"))
def long_mode_without_protection(state: State) -> Iterator[Violation]:
    """With EFER.LME and CR0.PG set CR0.PE must be 1."""
    cr0 = state["cr0"]
    if state.guest.long and not cr0 & Cr0.PE:
        yield Violation("cr0", cr0, "PE is 0 while EFER.LME and CR0.PG are 1", setting("cr0", Cr0.PE))


@rule("SVM-15.5.1-C-014", permits=("SVM-15.5.1-C-015", "SVM-15.5.1-C-016"))
def l_and_d(state: State) -> Iterator[Violation]:
    """In long mode CS must not have both L and D set."""
    attrib = state["cs.attrib"]
    long = state.guest.long and state["cr4"] & Cr4.PAE
    if long and attrib & Attrib.L and attrib & Attrib.D:
        yield Violation("cs.attrib", attrib, "L and D are both 1", clearing("cs.attrib", Attrib.D))


@rule("SVM-15.5.1-C-024")
def s_cet_reserved(state: State) -> Iterator[Violation]:
    """S_CET must have no reserved bit set: none but 1:0."""
    s_cet = state["s_cet"]
    if s_cet >> 2:
        yield Violation("s_cet", s_cet, f"{bits_of('s_cet', s_cet & ~3)} set", clearing("s_cet", s_cet & ~3))


@rule("SVM-15.5.1-C-025")
def cet_without_wp(state: State) -> Iterator[Violation]:
    """With CR4.CET set CR0.WP must be 1."""
    cr0 = state["cr0"]
    if state["cr4"] & Cr4.CET and not cr0 & Cr0.WP:
        yield Violation("cr0", cr0, "WP is 0 while CR4.CET is 1", setting("cr0", Cr0.WP))


@rule("SVM-15.5.1-C-026")
def user_shadow_stack_in_v86(state: State) -> Iterator[Violation]:
    """With CR4.CET and U_CET.SS set RFLAGS.VM must be 0."""
    rflags = state["rflags"]
    if state["cr4"] & Cr4.CET and rflags & Rflags.VM and state.host["u_cet"] & 1:
        change = clearing("rflags", Rflags.VM)
        yield Violation("rflags", rflags, "VM is 1 while CR4.CET and U_CET.SS are 1", change)


@rule("SVM-15.5.1-031")
def pdpte_reserved(state: State) -> Iterator[Violation]:
    """Without nested paging the four PDPEs of a guest in PAE paging must have no reserved bit set where present."""
    pae = state.guest.paging and not state.guest.long and state["cr4"] & Cr4.PAE
    if not pae or state["nested_control"] & Nested.NP_ENABLE:
        return
    if state.pdptes is None:
        raise Unknown("the four PDPEs at the guest's CR3")
    for number, entry in enumerate(state.pdptes):
        reserved = entry & (0x1E6 | ~state.host.address_mask)
        if entry & 1 and reserved:
            yield Violation("cr3", state["cr3"], f"PDPE {number} is {entry:#x}: {bits_of('', reserved)} set")


@rule("SVM-15.19-003", effect=Effect.UNDEFINED)
def paged_real_mode(state: State) -> Iterator[Violation]:
    """A guest in paged real mode must have #PF intercepted."""
    intercepts = state["intercept_exceptions"]
    if state.guest.paging and not state.guest.protected and not intercepts & 1 << 14:
        change = setting("intercept_exceptions", 1 << 14)
        yield Violation("intercept_exceptions", intercepts, "#PF is not intercepted in paged real mode", change)


def _high_half(state: State, field: str) -> Iterator[Violation]:
    value = state[field]
    if value & _HIGH:
        yield Violation(field, value, f"{bits_of(field, value & _HIGH)} set", clearing(field, value & _HIGH))


def _undefined(state: State, field: str, defined: int) -> Iterator[Violation]:
    value = state[field]
    if value & ~defined:
        change = clearing(field, value & ~defined)
        yield Violation(field, value, f"{bits_of(field, change.mask)} set, which no feature defines", change)


def _absent(state: State, field: str, value: int, bits: tuple[int, int]) -> Iterator[Violation]:
    """Those of the bits that are not there; of those of which that is not known only when it matters."""
    existing, unknown = bits
    absent = value & ~(existing | unknown)
    if absent:
        why = f"{bits_of(field, absent)} set, which this processor does not have"
        yield Violation(field, state[field], why, clearing(field, absent))
    elif value & unknown:
        raise Unknown(f"the CPUID bits of {field.upper()}'s {bits_of(field, value & unknown)}")
