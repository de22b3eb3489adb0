"""The control fields of the VMCB that #VMEXIT does not write (15.5.1)."""

from conformance.vmrun.guests import VMMCALL, all_end
from harness.cases import Cpus, executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model.registers import Misc1, Misc2, Vintr

# All legal, and different from one another and from what a processor would put there; the guest does nothing of it.
FILLED = {
    "intercept_cr_read": 0x0115,
    "intercept_cr_write": 0x010B,
    "intercept_dr_read": 0xC3A5,
    "intercept_dr_write": 0x5A3C,
    "intercept_exceptions": 0x0006_7DFB,
    "intercept_misc1": Misc1.SHUTDOWN | Misc1.MSR_PROT | Misc1.IOIO_PROT | Misc1.NMI | Misc1.INIT | 0x0024_0AC0,
    "intercept_misc2": Misc2.VMRUN | Misc2.VMMCALL | Misc2.VMSAVE | Misc2.CLGI | Misc2.RDTSCP | 1 << 9,
    "iopm_base_pa": places.IOPM,
    "msrpm_base_pa": places.MSRPM,
    "tsc_offset": 0xFEDC_BA98_7654_3210,
    "guest_asid": 5,
    "tlb_control": 1,
    "vintr": 0x99 << 32 | Vintr.V_INTR_MASKING | Vintr.V_IGN_TPR | 0xA << 16 | 0x5,
}
PLAIN = guest(Mode.LONG, "nop\nvmmcall", n_cr3=0x0123_4000, **FILLED)
NESTED = guest(Mode.LONG, "nop\nvmmcall", nested=True, **FILLED)


def are_as_before(ran: Seen) -> None:
    """The guest ran and came back, and not one of these fields is another."""
    all_end(ran, ["VMRUN"], VMMCALL)
    changed = ran.vmrun().changed()
    assert "rip" in changed and "exitcode" in changed, "nothing came back of the guest"
    kept = [*FILLED, "nested_control", "n_cr3"]
    assert {name: values for name, values in changed.items() if name in kept} == {}


@requirement("SVM-15.5.1-036")
@executes({"": vmruns(PLAIN)})
def test_control_fields_are_not_written(ran: Seen) -> None:
    """Intercepts, maps, TSC_OFFSET, ASID, TLB_CONTROL and interrupt controls are as they were before VMRUN."""
    are_as_before(ran)


@requirement("SVM-15.5.1-036")
@executes({"": vmruns(NESTED)}, cpus=Cpus.WITH_NPT)
def test_control_fields_of_nested_paging_are_not_written(ran: Seen) -> None:
    """With nested paging, too, and so are NP_ENABLE and N_CR3."""
    are_as_before(ran)
