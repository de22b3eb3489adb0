"""Where a guest goes on behind an instruction that its hypervisor executed for it."""

from harness.boot import Boot
from harness.cases import Cpus, boots, requirement
from harness.observation import Observation

EXECUTED = 24
"""What guest `lengths` counts when each of its instructions was followed by what follows it."""

SMALL, WHOLE_MACHINE = Boot(guest="lengths"), Boot(guest="pc.lengths")


@requirement("SVM-15.7.1-006")
@boots(SMALL, guest_runs=True)
def test_prefixes_are_a_part_of_the_instruction(seen: Observation) -> None:
    """Without nRIP an instruction with prefixes is left at its end, whatever was there before it."""
    assert seen.outcome == "guest-finished", f"the machine {seen.ended}, outcome {seen.outcome}"
    assert seen.witness["LENGTHS"].value == EXECUTED


@requirement("SVM-15.7.1-006")
@boots(WHOLE_MACHINE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_what_is_remembered_of_code_is_not_stale(seen: Observation) -> None:
    """The same for a guest of a whole machine, which changes its code and its page tables without an exit."""
    test_prefixes_are_a_part_of_the_instruction(seen)
