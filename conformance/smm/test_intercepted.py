"""A hypervisor that intercepts SMIs: what else it must intercept then (15.22).

One that intercepts none leaves SMM to the firmware, also while a guest runs, and has nothing to do.
"""

from conformance.vmrun.test_vmcb import vmcbs
from harness.boot import Boot
from harness.cases import Cpus, NotRun, boots, requirement
from harness.machine.iopm import intercepts_all
from harness.machine.msrpm import intercepts
from harness.machine.vmcb import Vmcb
from harness.model.registers import Misc1
from harness.msr import Msr
from harness.observation import Observation

SMALL = Boot(name="small guest", guest="mixed", count=5, any_guest=True)
WHOLE = Boot(name="whole machine", guest="pc.exits", count=5, any_guest=True)

AREAS = (Msr.SMM_BASE, Msr.SMM_ADDR, Msr.SMM_MASK)
"""Where SMM has its areas."""
CONTAINS = {*AREAS, Msr.SMM_CTL}
"""Who writes one of these contains SMM: it runs the handler under its own eyes."""


def intercepting(seen: Observation) -> list[Vmcb]:
    """The VMCBs that intercept SMI."""
    return [vmcb for _, vmcb in vmcbs(seen) if vmcb.intercept_misc1 & Misc1.SMI]


@requirement("SVM-15.22-003", "SVM-15.22-004")
@boots(SMALL, WHOLE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_smis_are_intercepted_with_every_port(seen: Observation) -> None:
    """A VMCB that intercepts SMI intercepts every port, unless the hypervisor contains SMM: no guest causes an SMI."""
    if seen.iopm is None:
        raise NotRun("no I/O permission map was seen")
    if any(seen.wrote(msr) for msr in CONTAINS):
        return
    for vmcb in intercepting(seen):
        assert vmcb.intercept_misc1 & Misc1.IOIO_PROT, "SMI is intercepted, ports are not"
        assert intercepts_all(seen.iopm), "SMI is intercepted, and a port is open to the guest"


@requirement("SVM-15.22-009")
@boots(SMALL, guest_runs=True)
def test_smis_are_intercepted_with_the_areas_of_smm(seen: Observation) -> None:
    """A VMCB that intercepts SMI intercepts WRMSR of the registers that say where the areas of SMM are."""
    if seen.msrpm is None:
        raise NotRun("no MSR permission map was seen")
    for vmcb in intercepting(seen):
        closed = vmcb.intercept_misc1 & Misc1.MSR_PROT
        open_ = [hex(msr) for msr in AREAS if not (closed and intercepts(seen.msrpm, msr, write=True))]
        assert not open_, f"SMI is intercepted, and the guest can write {', '.join(open_)}"
