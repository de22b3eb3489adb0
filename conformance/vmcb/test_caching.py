"""VMCB state caching (15.15): what VMRUN takes from the VMCB while a clean bit is 0, and what whatever it is.

A clean bit that is set permits cached values and demands none, so no case sets the bit of what it changes, unless the
processor must not look at it.
"""

from collections.abc import Mapping

from conformance.vmcb.cached import (
    ASID_0,
    BY_BIT,
    DEBUG_INTERCEPTS,
    EVERYTHING,
    MASKING,
    NEVER_CACHED,
    PAT,
    PLAIN,
    TSC,
    VECTOR,
)
from conformance.vmcb.rewritten import ALL_CLEAN, Change, moved, rewritten, takes_effect
from harness.cases import Cpus, executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen

UNDEFINED = 1 << 31


def with_only(bit: int, changes: Mapping[str, Change] | None = None) -> dict[str, Program]:
    """What this clean bit covers is changed, and no other clean bit is 0."""
    return rewritten(changes or BY_BIT[bit], ALL_CLEAN & ~(1 << bit))


@requirement("SVM-15.15-001")
@executes(rewritten(EVERYTHING, 0))
def test_nothing_is_clean(ran: Seen) -> None:
    """With a clean field of 0 every field that is changed takes effect."""
    takes_effect(ran, EVERYTHING)


@requirement("SVM-15.15-005")
@executes(rewritten(PLAIN, ALL_CLEAN))
def test_without_caching_clean_bits_mean_nothing(ran: Seen) -> None:
    """On a processor without VMCB state caching fields that are changed take effect with all clean bits set."""
    takes_effect(ran, PLAIN)


ANOTHER: Mapping[str, Change] = {name: it for name, it in EVERYTHING.items() if not name.startswith("ASID")}


@requirement("SVM-15.15-004")
@executes(moved(ANOTHER))
def test_another_vmcb_is_not_clean(ran: Seen) -> None:
    """A VMCB at another address has its own state loaded, though all its clean bits are set, with the same ASID."""
    takes_effect(ran, ANOTHER)


@requirement("SVM-15.15-006")
@executes(with_only(0))
def test_bit_0_intercepts(ran: Seen) -> None:
    """With only clean bit 0 clear changes of the other intercept vectors take effect."""
    takes_effect(ran, BY_BIT[0])


@requirement("SVM-15.15-006")
@executes(with_only(0, DEBUG_INTERCEPTS))
def test_bit_0_intercepts_of_debug_registers(ran: Seen) -> None:
    """With only clean bit 0 clear changes of the intercepts of debug registers take effect."""
    takes_effect(ran, DEBUG_INTERCEPTS)


@requirement("SVM-15.15-006")
@executes(with_only(0, TSC))
def test_bit_0_tsc_offset(ran: Seen) -> None:
    """With only clean bit 0 clear a change of TSC_OFFSET takes effect."""
    takes_effect(ran, TSC)


@requirement("SVM-15.15-007")
@executes(with_only(1))
def test_bit_1_permission_maps(ran: Seen) -> None:
    """With only clean bit 1 clear changes of IOPM_BASE_PA and MSRPM_BASE_PA take effect."""
    takes_effect(ran, BY_BIT[1])


@requirement("SVM-15.15-008")
@executes(with_only(2))
def test_bit_2_asid(ran: Seen) -> None:
    """With only clean bit 2 clear another ASID has no translations of the first."""
    takes_effect(ran, BY_BIT[2])


@requirement("SVM-15.15-008")
@executes(with_only(2, ASID_0))
def test_bit_2_asid_0(ran: Seen) -> None:
    """With only clean bit 2 clear an ASID of 0 is refused."""
    takes_effect(ran, ASID_0)


@requirement("SVM-15.15-009")
@executes(with_only(3))
def test_bit_3_virtual_interrupts(ran: Seen) -> None:
    """With only clean bit 3 clear V_TPR, V_IRQ, V_INTR_PRIO and V_IGN_TPR decide anew on a virtual interrupt."""
    takes_effect(ran, BY_BIT[3])


@requirement("SVM-15.15-009")
@executes(with_only(3, VECTOR))
def test_bit_3_vector(ran: Seen) -> None:
    """With only clean bit 3 clear a change of V_INTR_VECTOR takes effect."""
    takes_effect(ran, VECTOR)


@requirement("SVM-15.15-009")
@executes(with_only(3, MASKING))
def test_bit_3_masking(ran: Seen) -> None:
    """With only clean bit 3 clear a change of V_INTR_MASKING takes effect: CR8 is the host's or the guest's own."""
    takes_effect(ran, MASKING)


@requirement("SVM-15.15-010")
@executes(with_only(4), cpus=Cpus.WITH_NPT)
def test_bit_4_nested_paging(ran: Seen) -> None:
    """With only clean bit 4 clear a change of N_CR3 takes effect."""
    takes_effect(ran, BY_BIT[4])


@requirement("SVM-15.15-010")
@executes(with_only(4, PAT), cpus=Cpus.WITH_NPT)
def test_bit_4_g_pat(ran: Seen) -> None:
    """With only clean bit 4 clear a change of G_PAT takes effect."""
    takes_effect(ran, PAT)


@requirement("SVM-15.15-011")
@executes(with_only(5))
def test_bit_5_control_registers(ran: Seen) -> None:
    """With only clean bit 5 clear changes of CR0, CR3, CR4 and EFER take effect."""
    takes_effect(ran, BY_BIT[5])


@requirement("SVM-15.15-012")
@executes(with_only(6))
def test_bit_6_debug_registers(ran: Seen) -> None:
    """With only clean bit 6 clear changes of DR6 and DR7 take effect."""
    takes_effect(ran, BY_BIT[6])


@requirement("SVM-15.15-013")
@executes(with_only(7))
def test_bit_7_descriptor_tables(ran: Seen) -> None:
    """With only clean bit 7 clear changes of base and limit of GDTR and IDTR take effect."""
    takes_effect(ran, BY_BIT[7])


@requirement("SVM-15.15-014")
@executes(with_only(8))
def test_bit_8_segments(ran: Seen) -> None:
    """With only clean bit 8 clear changes of CS, DS, SS and ES, what is hidden of them, and the CPL take effect."""
    takes_effect(ran, BY_BIT[8])


@requirement("SVM-15.15-015")
@executes(with_only(9))
def test_bit_9_cr2(ran: Seen) -> None:
    """With only clean bit 9 clear a change of CR2 takes effect."""
    takes_effect(ran, BY_BIT[9])


@requirement("SVM-15.15-019")
@executes(rewritten(NEVER_CACHED, ALL_CLEAN))
def test_what_is_never_cached(ran: Seen) -> None:
    """With all clean bits set TLB_CONTROL, shadow, EVENTINJ, RFLAGS, RIP, RSP and RAX are taken from the VMCB."""
    takes_effect(ran, NEVER_CACHED)


@requirement("SVM-15.15-023")
@executes(rewritten(EVERYTHING, UNDEFINED))
def test_bit_31_has_no_meaning(ran: Seen) -> None:
    """With clean bit 31 set alone every field that is changed takes effect."""
    takes_effect(ran, EVERYTHING)
