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
from harness.cases import Executes
from harness.engines.qemu import Qemu
from harness.lab.program import Seen
from harness.msr import Msr
from harness.suite import cases

Case = Callable[[Seen], None]

HSAVE_IS_DEAF = Fault(insn=Insn.WRMSR, select=Msr.VM_HSAVE_PA, skip=True, spare=1)
VMRUN_DOES_NOTHING = Fault(insn=Insn.VMRUN, skip=True)

TURNED_RED_BY = {
    "test_reads_back": HSAVE_IS_DEAF,
    "test_unaligned_value_faults": HSAVE_IS_DEAF,
    "test_value_beyond_physical_memory_faults": HSAVE_IS_DEAF,
    "test_vmrun_at_cpl_3_is_gp": VMRUN_DOES_NOTHING,
    "test_vmrun_at_cpl_3_without_svme_is_ud": VMRUN_DOES_NOTHING,
    "test_the_others_at_cpl_3_are_gp": Fault(insn=Insn.STGI, skip=True),
    "test_skinit_at_cpl_3_is_gp": Fault(insn=Insn.SKINIT, skip=True),
    "test_without_svme_they_are_ud": Fault(insn=Insn.INVLPGA, skip=True),
    "test_address_of_a_page_is_accepted": VMRUN_DOES_NOTHING,
    "test_unaligned_address_is_gp": VMRUN_DOES_NOTHING,
    "test_address_beyond_physical_memory_is_gp": VMRUN_DOES_NOTHING,
}


def test_every_case_has_a_defect() -> None:
    assert {name.partition("::")[2] for name, _, _ in cases("executes")} == set(TURNED_RED_BY)


@pytest.mark.parametrize(("name", "case", "executes"), list(cases("executes")))
def test_defect_turns_it_red(name: str, case: Case, executes: Executes, qemu: Qemu, tmp_path: Path) -> None:
    build.probe()
    _, program = executes.variants[0]
    broken = qemu.execute(
        program.model_copy(update={"faults": (TURNED_RED_BY[name.partition("::")[2]],)}), "EPYC", tmp_path
    )
    assert not broken.ended.engine_at_fault
    with pytest.raises(AssertionError):
        case(broken)
