"""A hypervisor that offers its guest no SVM hides all of it, as on a processor that has none."""

from harness.boot import Boot
from harness.cases import NotRun, boots, requirement
from harness.machine.registers import EFER_SVME
from harness.observation import Observation, Tried

UD, GP = 6, 13
SVM, SKINIT, HYPERVISOR = 1 << 2, 1 << 12, 1 << 31
HIDDEN = Boot(guest="hidden")
USER = Boot(guest="cpl3")
INSNS = ("VMRUN", "VMLOAD", "VMSAVE", "STGI", "CLGI", "SKINIT", "INVLPGA")


def witness(seen: Observation, *names: str) -> list[Tried]:
    """What the guest says of these attempts; the case is not run when it left no word of one."""
    if missing := [name for name in names if name not in seen.witness]:
        raise NotRun(f"the guest left no word of {', '.join(missing)}: the machine {seen.ended}")
    return [seen.witness[name] for name in names]


def faults(seen: Observation, vector: int, *names: str) -> None:
    """The guest's own attempts of these names faulted with the vector, and error code 0."""
    got = {name: (tried.vector, tried.error) for name, tried in zip(names, witness(seen, *names), strict=True)}
    assert got == dict.fromkeys(names, (vector, 0))


@requirement("SVM-CPUID-003", "SVM-15.4-019")
@boots(HIDDEN, guest_runs=True)
def test_cpuid_shows_a_hypervisor_and_no_svm(seen: Observation) -> None:
    """The guest's CPUID: hypervisor bit set, SVM and SKINIT clear, Fn8000_000A all zero."""
    leaf1, leaf8, *svm_leaf = (t.value for t in witness(seen, "CPUID1C", "CPUID8C", "CPUIDAA", "CPUIDAB", "CPUIDAD"))
    assert leaf1 & HYPERVISOR, f"Fn0000_0001_ECX is {leaf1:#x}"
    assert leaf8 & (SVM | SKINIT) == 0, f"Fn8000_0001_ECX is {leaf8:#x}"
    assert svm_leaf == [0, 0, 0], f"Fn8000_000A is {svm_leaf}"


@requirement("SVM-15.11-010")
@boots(HIDDEN, guest_runs=True)
def test_vm_cr_and_the_key_do_not_exist(seen: Observation) -> None:
    """The guest's RDMSR and WRMSR of VM_CR and SVM_KEY raise #GP(0)."""
    faults(seen, GP, "VMCR", "SVMKEY", "WVMCR", "WSVMKEY")


@requirement("SVM-15.11-010")
@boots(HIDDEN, guest_runs=True)
def test_vm_hsave_pa_does_not_exist(seen: Observation) -> None:
    """The guest's RDMSR and WRMSR of VM_HSAVE_PA raise #GP(0)."""
    faults(seen, GP, "HSAVE", "WHSAVE")


@requirement("SVM-15.11-010")
@boots(HIDDEN, guest_runs=True)
def test_efer_svme_is_a_reserved_bit(seen: Observation) -> None:
    """The guest reads EFER.SVME as 0, and setting it raises #GP(0)."""
    (efer,) = witness(seen, "EFER")
    assert efer.vector is None and efer.value & EFER_SVME == 0, f"EFER is {efer}"
    faults(seen, GP, "WEFER")


@requirement("SVM-15.5.2-015", "SVM-15.17-014")
@boots(HIDDEN, guest_runs=True)
def test_svm_instructions_at_cpl_0_are_ud(seen: Observation) -> None:
    """A guest's SVM instructions at CPL 0 raise #UD."""
    faults(seen, UD, *INSNS)


@requirement("SVM-15.5.2-015", "SVM-15.17-014")
@boots(USER, guest_runs=True)
def test_svm_instructions_at_cpl_3_are_ud(seen: Observation) -> None:
    """A guest's SVM instructions at CPL 3 raise #UD, not the #GP(0) of a processor that has SVM."""
    assert witness(seen, "CPL")[0].value == 3
    faults(seen, UD, *INSNS)
