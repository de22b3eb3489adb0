"""What a hypervisor should leave 0 in a VMCB, and how it should write segments: judged at each VMRUN watched."""

from conformance.evidence import reported_svm_features
from conformance.vmrun.test_vmcb import vmcbs
from harness.boot import Boot
from harness.cases import Cpus, NotRun, boots, requirement
from harness.machine.vmcb import FIELDS, Vmcb
from harness.model.registers import Attrib, Cr0, Event, Rflags, Vintr, Virt
from harness.observation import Observation

SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
TABLES = ("gdtr", "idtr")
G = 1 << 11
HOST_SOFTWARE = range(0x3E0, 0x400)
LONG_MODE = Boot(guest="long64", any_guest=True)
TAKES_FAULTS = Boot(guest="hidden", any_guest=True)

USED = {at for field in FIELDS.values() for at in range(field.offset, field.offset + field.size)} | set(HOST_SOFTWARE)


@requirement("SVM-B-002", "SVM-B-008")
@boots()
def test_unused_bytes_are_0(seen: Observation) -> None:
    """At the first VMRUN all bytes of the VMCB that no field has are 0."""
    event, vmcb = vmcbs(seen)[0]
    dirty = [hex(at) for at, byte in enumerate(vmcb.data) if byte and at not in USED]
    assert not dirty, f"not 0 at {event.where}: {', '.join(dirty)}"


@requirement("SVM-B-009")
@boots()
def test_descriptor_tables_have_no_selector_or_attributes(seen: Observation) -> None:
    """GDTR and IDTR have selector 0 and attributes 0 in the VMCB at the first VMRUN."""
    event, vmcb = vmcbs(seen)[0]
    for name in TABLES:
        assert (vmcb[f"{name}.selector"], vmcb[f"{name}.attrib"]) == (0, 0), f"{name} at {event.where}"


@requirement("SVM-15.5.1-050")
@boots()
def test_null_segments_have_no_attributes(seen: Observation) -> None:
    """A segment that is not present has attributes 0 in the VMCB at the first VMRUN."""
    event, vmcb = vmcbs(seen)[0]
    for name in SEGMENTS:
        attributes = vmcb[f"{name}.attrib"]
        assert attributes & Attrib.P or attributes == 0, f"{name} has attributes {attributes:#x} at {event.where}"


@requirement("SVM-15.5.1-059")
@boots(LONG_MODE)
def test_limits_are_in_bytes(seen: Observation) -> None:
    """Where a segment's attributes have G=1 the low 12 bits of its limit are 1, at every VMRUN."""
    for event, vmcb in vmcbs(seen):
        for name in SEGMENTS:
            limit = vmcb[f"{name}.limit"]
            assert not vmcb[f"{name}.attrib"] & G or limit & 0xFFF == 0xFFF, f"{name}: {limit:#x} at {event.where}"


@requirement("SVM-15.5.1-051")
@boots(LONG_MODE, guest_runs=True, cpus=Cpus.WITH_NPT)
def test_dpl_of_cs_is_the_cpl(seen: Observation) -> None:
    """CS.DPL is the CPL at every VMRUN of a guest in protected mode."""
    protected = [(e, v) for e, v in vmcbs(seen) if v.cr0 & Cr0.PE and not v.rflags & Rflags.VM]
    if not protected:
        raise NotRun("no VMRUN of a guest in protected mode was watched")
    for event, vmcb in protected:
        dpl = vmcb.cs.attrib >> 5 & 3
        assert dpl == vmcb.cpl, f"CS.DPL is {dpl} and the CPL {vmcb.cpl} at {event.where}"


def bits(vmcb: Vmcb) -> dict[int, int]:
    """For each bit of Fn8000_000A_EDX what of the VMCB belongs to the feature."""
    return {
        0: vmcb.nested_control & 1 | vmcb.n_cr3,
        1: vmcb.virt_enables & Virt.LBR,
        5: vmcb.vmcb_clean,
        6: int(vmcb.tlb_control in (3, 7)),
        10: vmcb.pause_filter_count,
        12: vmcb.pause_filter_threshold,
        13: vmcb.vintr & Vintr.AVIC_ENABLE | vmcb.avic_backing_page,
        15: vmcb.virt_enables & Virt.VMLOAD_VMSAVE,
        16: vmcb.vintr & (Vintr.V_GIF | Vintr.V_GIF_ENABLE),
        25: vmcb.vintr & (Vintr.V_NMI | Vintr.V_NMI_MASK | Vintr.V_NMI_ENABLE),
    }


@requirement("SVM-15.4-020", "SVM-15.25.3-004")
@boots()
def test_bits_of_absent_features_are_0(seen: Observation) -> None:
    """What belongs to a feature that Fn8000_000A_EDX does not report is 0 in the VMCB at every VMRUN."""
    features = reported_svm_features(seen)
    for event, vmcb in vmcbs(seen):
        used = {bit: hex(value) for bit, value in bits(vmcb).items() if value and not features >> bit & 1}
        assert not used, f"Fn8000_000A_EDX is {features:#x}, and the VMCB at {event.where} uses bits {used}"


@requirement("SVM-15.20-002")
@boots(TAKES_FAULTS, guest_runs=True, cpus=Cpus.WITH_NPT)
def test_reserved_bits_of_an_event_are_0(seen: Observation) -> None:
    """EVENTINJ[30:12] is 0 at every VMRUN that injects an event."""
    injected = [(e, v) for e, v in vmcbs(seen) if v.eventinj & Event.V]
    if not injected:
        raise NotRun("no VMRUN that injects an event was watched")
    for event, vmcb in injected:
        assert vmcb.eventinj & 0x7FFF_F000 == 0, f"EVENTINJ is {vmcb.eventinj:#x} at {event.where}"
