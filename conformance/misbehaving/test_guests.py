"""Guests that have a whole machine and each mean no good in one way: what they do ends them at most, and by name."""

from conformance.evidence import is_whole, maps_nothing_of_the_hypervisor
from conformance.guest_view.test_hiding import INSNS, UD, faults, witness
from harness.boot import Boot
from harness.cases import Cpus, boots, requirement
from harness.machine.ending import How
from harness.observation import Observation

ROUNDS = 20
RINGS, MODES, SWEEP = Boot(guest="pc.rings"), Boot(guest="pc.modes", count=ROUNDS), Boot(guest="pc.sweep")
HALT, TRIPLE = Boot(guest="pc.halt"), Boot(guest="pc.triple")
HANG = Boot(guest="pc.hang", seconds=3)
GUEST_CODE = range(0x7C00, 0x9C00)
"""Where a small guest lies."""


def counted(guest: str, counts: tuple[int, ...]) -> tuple[Boot, ...]:
    """The guest once for each count, which is its seed."""
    return tuple(Boot(name=str(count), guest=guest, words=(f"count={count}",)) for count in counts)


OUTS = counted("pc.outs", (10_007, 100_003))
TORN = counted("pc.torn", (35, 2, 3, 7))

READ, WRITE, EXECUTE = 0, 1, 2
IMAGE, STARTUP, POOL, ROOM = 0x10_0000, 0x7_F000, 0x7E8_0000, 0x7F8_0000
"""In each span that the hypervisor keeps of 128 MiB: its image, the page where processors start, tables, their room."""
GRABS = tuple(
    Boot(name=f"{what} {where}", guest="pc.grab", words=(f"count={address | how}",))
    for what, how, where, address in (
        ("read", READ, "image", IMAGE),
        ("write", WRITE, "image", IMAGE),
        ("execute", EXECUTE, "image", IMAGE),
        ("write", WRITE, "startup", STARTUP),
        ("read", READ, "tables", POOL),
        ("write", WRITE, "room", ROOM),
    )
)


def finished(seen: Observation) -> None:
    """The guest came to its end, and found all as it must be."""
    assert seen.outcome == "guest-finished", f"the machine {seen.ended}, outcome {seen.outcome}"


@requirement("SVM-15.5.2-015", "SVM-15.17-014")
@boots(RINGS, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_has_no_svm_at_any_cpl(seen: Observation) -> None:
    """Each SVM instruction is #UD at each CPL, and the guest goes on."""
    finished(seen)
    for cpl in range(4):
        assert witness(seen, f"CPL{cpl}")[0].value == cpl
        faults(seen, UD, *(f"{insn}{cpl}" for insn in INSNS))


@requirement("SVM-15.5.1-017")
@boots(MODES, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_follows_through_all_modes(seen: Observation) -> None:
    """A guest that goes round the modes of a processor finds what exits done in each, prefixes and all."""
    finished(seen)
    rounds = seen.boot.count or 0
    assert [tried.value for tried in witness(seen, "MODES", "UD")] == [rounds, 4 * rounds]


@requirement("SVM-15.11-008", "SVM-15.10-003")
@boots(SWEEP, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_stands_every_register_and_port(seen: Observation) -> None:
    """RDMSR of every register of the permission map's, WRMSR of what was read, IN of every port: the guest goes on."""
    finished(seen)
    ports, read, written = (tried.value for tried in witness(seen, "PORTS", "MSRS", "WRITTEN"))
    assert ports == 1 << 16 and 0 < written <= read
    is_whole(seen)


@requirement("SVM-15.10-003")
@boots(*OUTS, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_stands_writes_to_any_port(seen: Observation) -> None:
    """Random bytes written to random ports: the guest goes on, or has switched off or reset its machine by name."""
    named = {"guest-finished", "guest-reset"}  # switching off is finishing, too
    assert seen.outcome in named, f"the machine {seen.ended}, outcome {seen.outcome}"
    is_whole(seen)


@requirement("SVM-15.5.1-047")
@boots(*TORN, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_stands_torn_page_tables(seen: Observation) -> None:
    """A guest whose own tables lead anywhere ends by a triple fault, a touch, an exit without code: each is named."""
    named = {"guest-finished", "guest-shutdown", "guest-memory-violation", "unhandled-exit"}
    assert seen.outcome in named, f"the machine {seen.ended}, outcome {seen.outcome}"
    is_whole(seen)
    maps_nothing_of_the_hypervisor(seen)


@requirement("SVM-15.10-003", "SVM-15.11-007")
@boots(HANG, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_stays_whole_while_its_guest_hangs(seen: Observation) -> None:
    """An endless loop with interrupts off keeps the processor in the guest, and the hypervisor whole."""
    assert seen.ended.how is How.HUNG, f"the machine {seen.ended}"
    assert seen.final is not None and seen.final["rip"] in GUEST_CODE, f"it stands elsewhere: {seen.final}"
    is_whole(seen)


@requirement("SVM-15.5.1-047")
@boots(*GRABS, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_names_a_touch_of_its_memory(seen: Observation) -> None:
    """A guest that reads, writes or executes what the hypervisor keeps does not: it has ended, by that touch."""
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
