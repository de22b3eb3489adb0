"""A guest that has a whole machine and means no good: the hypervisor survives it, stays whole, and says what ended it.

How often the fuzzer acts is also its seed: each count is another sequence, and the same each time.
"""

from conformance.evidence import is_whole, maps_nothing_of_the_hypervisor
from harness.boot import Boot
from harness.cases import Cpus, boots, requirement
from harness.observation import Observation

COUNTS = (10_007, 20_011)
SHORT = tuple(Boot(name=str(count), guest="pc.fuzz", words=(f"count={count}",)) for count in COUNTS)
LONG = Boot(name="as asked", guest="pc.fuzz", as_often_as_asked=True)


@requirement("SVM-15.11-008")
@boots(*SHORT, LONG, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_survives_what_its_guest_does(seen: Observation) -> None:
    """CPUID, MSRs, ports, APIC commands, SVM instructions, NMIs, patched code, all at random: the guest goes on."""
    assert seen.outcome == "guest-finished", f"the machine {seen.ended}, outcome {seen.outcome}"
    done = seen.witness.get("FUZZ")
    assert done is not None, "the guest left no word of what it did"
    assert done.value == (seen.boot.count or int(seen.boot.name))
    assert seen.witness["NMIS"].value > 0, "no non-maskable interrupt came"


@requirement("SVM-15.10-003", "SVM-15.11-007")
@boots(*SHORT, LONG, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_stays_whole(seen: Observation) -> None:
    """The hypervisor's code, constants and permission maps are at the end what they were at the first VMRUN."""
    is_whole(seen)


@requirement("SVM-15.5.1-047")
@boots(*SHORT, LONG, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_maps_nothing_of_the_hypervisor(seen: Observation) -> None:
    """After all that no nested mapping leads to its image, the VMCB, the maps, the tables, or what else it keeps."""
    maps_nothing_of_the_hypervisor(seen)
