"""What VMRUN checks of nested paging (15.25)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.model.cpuid import NP
from harness.model.registers import Efer, Nested
from harness.model.rule import Effect, Violation, becoming, bits_of, clearing, nearest, rule
from harness.model.state import State

_TYPES = (0, 1, 4, 5, 6, 7)  # UC, WC, WT, WP, WB, UC-
_HIGH = 0xFFFF_FFFF_0000_0000


@rule("SVM-15.25.3-002")
def host_paging_off(state: State) -> Iterator[Violation]:
    """Nested paging needs the host's CR0.PG."""
    if _asked(state) and not state.host.paging:
        yield _off(state, "NP_ENABLE is 1 while the host's CR0.PG is 0")


@rule("SVM-15.25.3-004", effect=Effect.UNDEFINED)
def nested_paging_absent(state: State) -> Iterator[Violation]:
    """NP_ENABLE must not be set on a processor without nested paging."""
    if _asked(state):
        yield _off(state, "NP_ENABLE is 1 where CPUID reports no nested paging")


@rule("SVM-15.25.4-001")
def n_cr3_mbz(state: State) -> Iterator[Violation]:
    """N_CR3 must have no bit set that must be 0: with a host in long mode those from the address width on."""
    n_cr3 = state["n_cr3"]
    if not _asked(state) or not n_cr3 & _HIGH:
        return
    if state.host["efer"] & Efer.LMA:
        if state.host.beyond(n_cr3):
            change = clearing("n_cr3", n_cr3 & ~state.host.address_mask)
            why = f"{bits_of('n_cr3', change.mask)} set, at or above the address width"
            yield Violation("n_cr3", n_cr3, why, change)
    else:
        why = f"{bits_of('n_cr3', n_cr3 & _HIGH)} set, with a host outside long mode, where CR3 has 32 bits"
        yield Violation("n_cr3", n_cr3, why, clearing("n_cr3", n_cr3 & _HIGH), effect=Effect.UNDEFINED)


@rule("SVM-15.25.4-002", permits=("SVM-15.25.4-003",))
def g_pat_types(state: State) -> Iterator[Violation]:
    """With nested paging every entry of G_PAT must be a memory type: 0, 1, 4, 5, 6 or 7."""
    pat = state["g_pat"]
    entries = pat.to_bytes(8, "little")
    wrong = [n for n, kind in enumerate(entries) if kind not in _TYPES]
    if _asked(state) and wrong:
        legal = bytes(nearest(kind, _TYPES) for kind in entries)
        why = ", ".join(f"PA{n} is {entries[n]:#x}" for n in wrong) + ": no memory type"
        yield Violation("g_pat", pat, why, becoming("g_pat", pat, int.from_bytes(legal, "little")))


@rule("SVM-15.25.14-001")
def sss_check_without_nested_paging(state: State) -> Iterator[Violation]:
    """SSSCheckEn needs nested paging."""
    control = state["nested_control"]
    if control & Nested.SSS_CHECK and not (_asked(state) and state.cpuid.has(NP)):
        change = clearing("nested_control", Nested.SSS_CHECK)
        yield Violation("nested_control", control, "SSSCheckEn is 1 without nested paging", change)


def _asked(state: State) -> bool:
    return bool(state["nested_control"] & Nested.NP_ENABLE)


def _off(state: State, why: str) -> Violation:
    return Violation("nested_control", state["nested_control"], why, clearing("nested_control", Nested.NP_ENABLE))
