"""A guest that has a whole machine and means no good: the hypervisor survives it, stays whole, and says what ended it.

How often the fuzzer acts is also its seed: each count is another sequence, and the same each time.
"""

from harness.boot import Boot
from harness.cases import Cpus, NotRun, boots, requirement
from harness.observation import Observation

COUNTS = (10_007, 20_011)
SHORT = tuple(Boot(name=str(count), guest="pc.fuzz", count=count) for count in COUNTS)
LONG = Boot(name="as asked", guest="pc.fuzz", as_often_as_asked=True)
GRAB = Boot(guest="pc.grab")
HALT, TRIPLE = Boot(guest="pc.halt"), Boot(guest="pc.triple")


@requirement("SVM-15.11-008")
@boots(*SHORT, LONG, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_survives_what_its_guest_does(seen: Observation) -> None:
    """CPUID, MSRs, ports, APIC commands, SVM instructions, NMIs, patched code, all at random: the guest goes on."""
    assert seen.outcome == "guest-finished", f"the machine {seen.ended}, outcome {seen.outcome}"
    done = seen.witness.get("FUZZ")
    assert done is not None, "the guest left no word of what it did"
    assert done.value == seen.boot.count
    assert seen.witness["NMIS"].value > 0, "no non-maskable interrupt came"


@requirement("SVM-15.10-003", "SVM-15.11-007")
@boots(*SHORT, LONG, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_stays_whole(seen: Observation) -> None:
    """The hypervisor's code, constants and permission maps are at the end what they were at the first VMRUN."""
    if missing := {"IOPM", "MSRPM"} - {constant.name for constant in seen.constants}:
        raise NotRun(f"not known: {', '.join(sorted(missing))}")
    changed = [f"{c.name} at {c.address:#x}" for c in seen.constants if c.before != c.after]
    assert not changed, f"changed while the guest ran: {', '.join(changed)}"


@requirement("SVM-15.5.1-047")
@boots(GRAB, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_names_a_touch_of_its_memory(seen: Observation) -> None:
    """A guest that reads the hypervisor's image reads nothing: it has ended, by a touch of what it does not have."""
    assert seen.outcome == "guest-memory-violation", f"the machine {seen.ended}, outcome {seen.outcome}"


@requirement("SVM-15.14.3-002")
@boots(TRIPLE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_names_a_triple_fault(seen: Observation) -> None:
    """A triple fault in a guest that has the whole machine ends the guest, by that name, and not the machine."""
    assert seen.outcome == "guest-shutdown", f"the machine {seen.ended}, outcome {seen.outcome}"


@requirement("SVM-15.5.1-017")
@boots(HALT, cpus=Cpus.WITH_NPT)
def test_names_a_halt_for_ever(seen: Observation) -> None:
    """A guest that halts with its interrupts off has ended, by that name."""
    assert seen.outcome == "guest-halted", f"the machine {seen.ended}, outcome {seen.outcome}"
