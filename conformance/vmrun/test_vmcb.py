"""What a hypervisor must put into a VMCB, and in which state it must execute VMRUN: judged at each VMRUN watched."""

from harness.boot import Boot, Insn
from harness.cases import NotRun, boots, requirement
from harness.machine.vmcb import MISC2_VMRUN, Vmcb
from harness.msr import CPUID_SVM
from harness.observation import Event, Observation

CROWDED = Boot(name="8 guests in 24 MiB", guest=",".join(["hello"] * 8), memory=24)
CR0_NW, CR0_CD = 1 << 29, 1 << 30
NO_EXCEPTIONS = 1 << 2 | 1 << 9
"""Vectors whose intercept has no defined effect: NMI has one of its own, 9 is of no processor that has SVM."""


def vmcbs(seen: Observation) -> list[tuple[Event, Vmcb]]:
    """Every VMRUN that was watched with its VMCB; the case is not run when there was none."""
    if not seen.vmruns():
        raise NotRun(f"no VMRUN had a VMCB: the machine {seen.ended}")
    return seen.vmruns()


@requirement("SVM-15.5.1-C-018")
@boots()
def test_hypervisor_intercepts_vmrun(seen: Observation) -> None:
    """Every VMCB that the hypervisor runs has the VMRUN intercept set."""
    for event, vmcb in vmcbs(seen):
        assert vmcb["intercept_misc2"] & MISC2_VMRUN, f"the VMRUN intercept is clear at {event.where}"


@requirement("SVM-15.5.1-037")
@boots()
def test_hypervisor_gives_a_legal_asid(seen: Observation) -> None:
    """Every VMCB that the hypervisor runs has an ASID that is not 0 and below the count of Fn8000_000A_EBX."""
    watched = vmcbs(seen)
    counts = [e.after["rbx"] & 0xFFFF_FFFF for e in seen.executed(Insn.CPUID) if e.leaf == CPUID_SVM]
    assert counts, "the number of ASIDs was never asked for"
    for event, vmcb in watched:
        assert 0 < vmcb["guest_asid"] < counts[0], f"ASID {vmcb['guest_asid']:#x} at {event.where}"


@requirement("SVM-15.5.1-052")
@boots()
def test_hypervisor_gives_a_legal_cr0(seen: Observation) -> None:
    """Every VMCB that the hypervisor runs has CR0[63:32] clear, and not NW without CD."""
    for event, vmcb in vmcbs(seen):
        cr0 = vmcb["cr0"]
        assert cr0 >> 32 == 0, f"CR0 is {cr0:#x} at {event.where}"
        assert not (cr0 & CR0_NW and not cr0 & CR0_CD), f"CR0 is {cr0:#x}, NW without CD, at {event.where}"


@requirement("SVM-15.12.3-001", "SVM-15.12.10-001")
@boots()
def test_no_vector_without_effect_is_intercepted(seen: Observation) -> None:
    """Bits 2 and 9 of the exception intercepts are 0 at every VMRUN."""
    for event, vmcb in vmcbs(seen):
        bits = vmcb.intercept_exceptions & NO_EXCEPTIONS
        assert not bits, f"exception intercepts {vmcb.intercept_exceptions:#x} at {event.where}"


@requirement("SVM-15.5.1-034")
@boots()
def test_hypervisor_clears_gif(seen: Observation) -> None:
    """GIF is 0 at each VMRUN: CLGI came after the last STGI, or #VMEXIT has cleared it."""
    vmcbs(seen)
    gif = True
    for event in seen.trace[: seen.trace_whole]:
        if event.insn is Insn.VMRUN:
            assert not gif, f"VMRUN with GIF=1 at {event.where}"
        gif = event.insn is Insn.STGI or (gif and event.insn not in (Insn.CLGI, Insn.VMRUN))


@requirement("SVM-15.5.1-046")
@boots(CROWDED, outcomes=("not-enough-memory",))
def test_no_vmcb_lies_beyond_memory(seen: Observation) -> None:
    """With more guests than there is memory for no VMRUN is given an address beyond it: the outcome says why."""
    beyond = [
        f"{e.before['rax']:#x} at {e.where}" for e in seen.executed(Insn.VMRUN) if e.before["rax"] >= seen.ram_size
    ]
    assert not beyond, f"of {seen.ram_size:#x} bytes: {', '.join(beyond)}"
    assert seen.outcome == "not-enough-memory", f"the machine {seen.ended}, outcome {seen.outcome}"
