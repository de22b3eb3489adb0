"""Every case that judges an engine can be turned red: the engine is made defective in what the case is about.

For these cases a seeded defect of the hypervisor would change nothing, so the defect is seeded in the engine: an
instruction is passed over as if it did nothing, or returns something else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import build
from harness.boot import Fault, Insn
from harness.cases import Absent, Executes
from harness.engines.qemu import Qemu
from harness.lab import runner
from harness.lab.seen import Seen
from harness.msr import CPUID_SVM, Msr
from harness.suite import cases

Case = Callable[[Seen], None]

HSAVE_IS_DEAF = Fault(insn=Insn.WRMSR, select=Msr.VM_HSAVE_PA, skip=True, spare=1)
VMRUN_DOES_NOTHING = Fault(insn=Insn.VMRUN, skip=True)
VMLOAD_DOES_NOTHING = Fault(insn=Insn.VMLOAD, skip=True)

CLGI_DOES_NOTHING = Fault(insn=Insn.CLGI, skip=True)
WRMSR_DOES_NOTHING = Fault(insn=Insn.WRMSR, skip=True)

TURNED_RED_BY = {
    "test_reads_back": HSAVE_IS_DEAF,
    "test_unaligned_value_faults": HSAVE_IS_DEAF,
    "test_value_beyond_physical_memory_faults": HSAVE_IS_DEAF,
    **{f"test_{insn}_at_cpl_3_is_gp": Fault(insn=insn, skip=True) for insn in Insn},
    **{f"test_{insn}_without_svme_is_ud": Fault(insn=insn, skip=True) for insn in Insn},
    "test_svme_can_be_set_and_cleared": WRMSR_DOES_NOTHING,
    "test_svme_is_reserved_without_svm": WRMSR_DOES_NOTHING,
    "test_reserved_bits_fault": WRMSR_DOES_NOTHING,
    **{f"test_{insn}_outside_protected_mode_is_ud": Fault(insn=insn, skip=True) for insn in Insn},
    **dict.fromkeys(("test_clgi_clears_gif", "test_interrupt_is_held", "test_nmi_is_held"), CLGI_DOES_NOTHING),
    "test_single_step_is_not_held": CLGI_DOES_NOTHING,
    **dict.fromkeys(("test_reset_is_not_held", "test_init_is_held"), CLGI_DOES_NOTHING),
    "test_gif_is_1_after_reset": WRMSR_DOES_NOTHING,
    **{f"test_lock_mov_cr0_is_cr8_in_{bits}_bit_code": WRMSR_DOES_NOTHING for bits in (32, 64)},
    "test_lock_mov_cr0_needs_no_svme": Fault(insn=Insn.WRMSR, skip=True, spare=1),
    "test_stgi_sets_gif": Fault(insn=Insn.STGI, skip=True),
    "test_flags_are_left_alone": Fault(insn=Insn.CLGI, force={"eflags": (1, 0)}),
    "test_invlpga_takes_the_address_in_eax": WRMSR_DOES_NOTHING,
    "test_invlpga_takes_the_asid_in_ecx": Fault(insn=Insn.INVLPGA, skip=True),
    "test_invlpga_takes_any_address": Fault(insn=Insn.INVLPGA, force={"rip": (1 << 47, 0)}),
    "test_svm_key_reads_as_0": Fault(insn=Insn.RDMSR, select=Msr.SVM_KEY, force={"rax": (1, 0)}),
    "test_svm_key_needs_no_svme": Fault(insn=Insn.WRMSR, select=Msr.SVM_KEY, force={"rip": (1 << 47, 0)}),
    "test_smm_key_shows_no_key": Fault(insn=Insn.RDMSR, select=Msr.SMM_KEY, force={"rax": (1, 0)}),
    "test_vmmcall_in_the_host_is_ud": Fault(insn=Insn.VMMCALL, skip=True),
    **{
        f"test_{insn}_{claim}": Fault(insn=insn, skip=True)
        for insn, claims in (
            (Insn.VMLOAD, "of_an_unaligned_address_is_gp loads_segments loads_kernel_gs_base extends_bases"),
            (Insn.VMLOAD, "loads_syscall_msrs loads_sysenter_msrs beyond_physical_memory_is_gp takes_the_address_size"),
            (Insn.VMSAVE, "to_an_unaligned_address_is_gp writes_segments writes_kernel_gs_base writes_nothing_else"),
            (
                Insn.VMSAVE,
                "writes_syscall_msrs writes_sysenter_msrs beyond_physical_memory_is_gp takes_the_address_size",
            ),
        )
        for claim in claims.split()
    },
    "test_limits_of_fs_and_gs_are_loaded": VMLOAD_DOES_NOTHING,
    "test_other_attributes_of_fs_and_gs_are_ignored": VMLOAD_DOES_NOTHING,
    "test_other_attributes_of_the_task_are_ignored": VMLOAD_DOES_NOTHING,
    # Its VMRUN is at the end of what the host can reach, and not in the step, where the defect is.
    "test_rip_that_is_not_canonical": WRMSR_DOES_NOTHING,
    "test_cpuid_tells_revision_and_asids": Fault(insn=Insn.CPUID, select=CPUID_SVM, force={"rax": (0, 0xFF)}),
}
"""The defect for a case that is not about VMRUN."""


@pytest.mark.parametrize(("name", "case", "executes"), list(cases("executes")))
def test_defect_turns_it_red(name: str, case: Case, executes: Executes, qemu: Qemu, tmp_path: Path) -> None:
    build.probe()
    _, program = executes.variants[0]
    defect = TURNED_RED_BY.get(name.partition("::")[2], VMRUN_DOES_NOTHING)
    broken = runner.run(qemu, program.model_copy(update={"faults": (defect,)}), "EPYC", tmp_path)
    assert not broken.ended.engine_at_fault
    with pytest.raises(AssertionError):
        try:
            case(broken)
        except Absent as absent:
            pytest.skip(f"it judges nothing on this engine: {absent}")
