"""What VMRUN checks when it turns nested paging on (15.25.4)."""

from conformance.vmrun.guests import INVALID, VMMCALL, all_end, limit, real_mode, runs
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.seen import Seen

PAT = 0x0007_0406_0007_0406
NESTED = {"nested": True, "g_pat": PAT}
ADDRESSES = {f"bit {bit}": 1 << bit for bit in range(32, 64)}

LEGAL = {"nested": real_mode(**NESTED)}


@requirement("SVM-15.25.3-001", "SVM-15.25.5-005")
@executes(runs(LEGAL), cpus=Cpus.WITH_NPT)
def test_np_enable_turns_it_on(ran: Seen) -> None:
    """With NP_ENABLE, N_CR3 and G_PAT as they must be, a guest without paging runs on the nested tables."""
    all_end(ran, LEGAL, VMMCALL)


N_CR3 = {name: real_mode(**{**NESTED, "n_cr3": places.NESTED_TABLES | bit}) for name, bit in ADDRESSES.items()}


@requirement("SVM-15.25.4-001")
@executes(runs(N_CR3), cpus=Cpus.WITH_NPT)
def test_n_cr3_beyond_physical_memory_is_invalid(ran: Seen) -> None:
    """Any bit of N_CR3 from the physical address width up to 63 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, (name for name, bit in ADDRESSES.items() if bit >= limit(ran)), INVALID)


BAD_PAT = {f"PA{n} = {kind}": real_mode(**{**NESTED, "g_pat": PAT & ~(0xFF << 8 * n) | kind << 8 * n})
           for n in (0, 3, 7) for kind in (2, 3, 8, 0x80)}  # fmt: skip


@requirement("SVM-15.25.4-002")
@executes(runs(BAD_PAT), cpus=Cpus.WITH_NPT)
def test_illegal_g_pat_is_invalid(ran: Seen) -> None:
    """A reserved memory type or bit in G_PAT makes VMRUN exit with VMEXIT_INVALID under nested paging."""
    all_end(ran, BAD_PAT, INVALID)


UNCHECKED = {"nested paging off": real_mode(g_pat=0x0202_0202_0202_0202)}


@requirement("SVM-15.25.4-003")
@executes(runs(UNCHECKED))
def test_g_pat_is_not_checked_without_nested_paging(ran: Seen) -> None:
    """With nested paging off an illegal G_PAT does not make VMRUN fail."""
    all_end(ran, UNCHECKED, VMMCALL)
