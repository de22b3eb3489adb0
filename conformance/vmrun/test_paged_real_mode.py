"""What a hypervisor must do that runs a guest in paged real mode: CR0.PG=1 with CR0.PE=0 (15.19)."""

from conformance.msr_intercepts.test_memory_types import WITHOUT_NPT
from conformance.vmrun.test_vmcb import vmcbs
from harness.cases import NotRun, boots, requirement
from harness.model.registers import Cr0
from harness.observation import Observation

PAGE_FAULT = 1 << 14


@requirement("SVM-15.19-003")
@boots(WITHOUT_NPT, guest_runs=True)
def test_page_faults_are_intercepted(seen: Observation) -> None:
    """#PF is intercepted at every VMRUN of a guest in paged real mode, which has no handler that could take it."""
    paged = [(e, v) for e, v in vmcbs(seen) if v.cr0 & Cr0.PG and not v.cr0 & Cr0.PE]
    if not paged:
        raise NotRun("no guest in paged real mode was run")
    for event, vmcb in paged:
        assert vmcb.intercept_exceptions & PAGE_FAULT, f"#PF is not intercepted at {event.where}"
