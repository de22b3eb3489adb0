"""INVLPGA's operands: the address in rAX, the ASID in ECX (15.16.2, volume 3).

Each step changes the translation of a page behind the processor's back: after INVLPGA the new one must be used.
Without INVLPGA it may be the old one or the new one, so that is not judged.
"""

from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.paging import FLAGS, PageTables
from harness.lab.program import SCRATCH_END, Program, Step
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm

PF, GP = 14, 13
GARBAGE = 0x5555_5555_0000_0000
PAGE = 0x4000_0000
OLD, NEW = places.DATA, places.DATA + places.PAGE
TABLES = PageTables(places.OWN_TABLES).identity(SCRATCH_END).map(PAGE, OLD)
ENTRY = TABLES.address_of_entry(PAGE)

MEMORY = TABLES.regions | {OLD: b"old", NEW: b"new"}


def moved(invlpga: str, rax: int, rcx: int) -> Step:
    """Use the page, map it to another, execute this, and read it again: RBX is what was read first, RDX what then."""
    return code(
        f"""
        mov r8, {TABLES.root:#x}
        mov cr3, r8
        mov ebx, [{PAGE:#x}]
        mov qword [{ENTRY:#x}], {NEW | FLAGS:#x}
        {invlpga}
        mov edx, [{PAGE:#x}]""",
        name=invlpga,
        rax=rax,
        rcx=rcx,
    )


def moving(step: Step) -> dict[str, Program]:
    """A program with this step."""
    return {"": Program(regions=MEMORY, steps=(*enable_svm(), step))}


def new_translation_is_used(ran: Seen) -> None:
    """The first read saw the old page and the second the new one."""
    step = ran[2]
    assert step.vector is None
    read = [step.registers[name].to_bytes(8, "little")[:3] for name in ("rbx", "rdx")]
    assert read == [b"old", b"new"]


@requirement("SVM-V3-006")
@executes(moving(moved("a32 invlpga", GARBAGE | PAGE, 0)))
def test_invlpga_takes_the_address_in_eax(ran: Seen) -> None:
    """INVLPGA with an address-size override in 64-bit code uses EAX: it invalidates the page there."""
    new_translation_is_used(ran)


@requirement("SVM-V3-015")
@executes(moving(moved("invlpga", PAGE, GARBAGE)))
def test_invlpga_takes_the_asid_in_ecx(ran: Seen) -> None:
    """INVLPGA with 0 in ECX and other bits in RCX invalidates the host's page."""
    new_translation_is_used(ran)


NOWHERE = {"not canonical": 1 << 62, "not mapped": 0x7F00_0000_0000}
TRIED = [
    code("invlpga", rax=address, rcx=asid, name=f"{name}, ASID {asid}")
    for name, address in NOWHERE.items()
    for asid in (0, 1)
]
READS = [code("mov rbx, [rax]", rax=address, name=f"read of an address {name}") for name, address in NOWHERE.items()]


@requirement("SVM-V3-007")
@executes({"": Program(steps=(*enable_svm(), *TRIED, *READS))})
def test_invlpga_takes_any_address(ran: Seen) -> None:
    """INVLPGA of an address that is not canonical, or not mapped, raises nothing, where a read of it does."""
    assert {step.name: ran[step.name].vector for step in TRIED} == {step.name: None for step in TRIED}
    assert [ran[step.name].vector for step in READS] == [GP, PF]
