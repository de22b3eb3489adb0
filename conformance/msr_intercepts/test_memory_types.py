"""A guest must not set the types of the host's memory: what the MSR permission map intercepts (15.25.2, 15.25.8)."""

from harness.boot import Boot, Fault, Insn
from harness.cases import NotRun, boots, requirement
from harness.machine.msrpm import intercepts
from harness.machine.vmcb import NP_ENABLE, Vmcb
from harness.model.registers import Misc1
from harness.msr import CPUID_SVM, Msr
from harness.observation import Observation

MTRRS = (*range(0x200, 0x210), 0x250, 0x258, 0x259, *range(0x268, 0x270), 0x2FF)
"""Variable and fixed MTRRs, and MTRRdefType (vol. 2, 7.7)."""

WITHOUT_NPT = Boot(faults=(Fault(insn=Insn.CPUID, select=CPUID_SVM, force={"rdx": (0, 1)}),))


def writable(seen: Observation, *msrs: int) -> list[str]:
    """Which of these a guest can write without an exit."""
    if seen.vmcb is None or seen.msrpm is None:
        raise NotRun("no MSR permission map was seen")
    if not Vmcb(seen.vmcb).intercept_misc1 & Misc1.MSR_PROT:
        return [hex(msr) for msr in msrs]
    return [hex(msr) for msr in msrs if not intercepts(seen.msrpm, msr, write=True)]


@requirement("SVM-15.25.2-003")
@boots(guest_runs=True)
def test_mtrrs_are_out_of_the_guests_reach(seen: Observation) -> None:
    """WRMSR of every MTRR is intercepted: the processor has one set of them, which is the host's."""
    assert not (open_ := writable(seen, *MTRRS)), f"the guest can write {', '.join(open_)}"


@requirement("SVM-15.25.8-004")
@boots(WITHOUT_NPT, guest_runs=True)
def test_pat_is_out_of_the_guests_reach(seen: Observation) -> None:
    """On a processor without nested paging, where no VMCB has a PAT, WRMSR of the PAT is intercepted."""
    assert seen.vmcb is None or not Vmcb(seen.vmcb).nested_control & NP_ENABLE
    assert not writable(seen, Msr.PAT), "the guest can write the host's PAT"
