"""When VMLOAD and VMSAVE fault: outside protected mode, and for what is no physical address of a page."""

from conformance.vmload_vmsave.state import MSRS, OTHER, PAGE, filled
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.program import Program, Step, StepMode
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import cpuid, enable_svm, execute, rdmsr, wrmsr
from harness.machine.registers import EFER_SVME

UD, GP = 6, 13
LSTAR = MSRS["lstar"]
BEFORE = 0x7F00_1234_5000
MODES = {"64-bit mode": StepMode.LONG, "real mode": StepMode.REAL, "virtual-8086 mode": StepMode.V86}
"""The first is the one in which both instructions act."""


def tries(steps: dict[str, Step]) -> dict[str, Program]:
    """Try these on pages to load from and to save to, with another LSTAR before each; LSTAR is read after each."""
    all_of_it: list[Step] = []
    for number, (name, step) in enumerate(steps.items()):
        all_of_it += [
            wrmsr(LSTAR, BEFORE + number).model_copy(update={"name": f"{name}: before"}),
            step.model_copy(update={"name": name}),
            rdmsr(LSTAR).model_copy(update={"name": f"{name}: after"}),
        ]
    return {
        "": program(
            *enable_svm(), cpuid(0x8000_0008).model_copy(update={"name": "widths"}), *all_of_it,
            memory={PAGE: filled(0x44).data}, watches={OTHER: 0x2000},
        )
    }  # fmt: skip


def in_each_mode(insn: Insn, page: int) -> dict[str, Program]:
    """The instruction with the address of a page, in :data:`MODES`, the one in which it acts last."""
    return tries({name: execute(insn, mode=mode, cpl=mode.cpls[0], rax=page) for name, mode in reversed(MODES.items())})


def at_each(insn: Insn, page: int, addresses: dict[str, int]) -> dict[str, Program]:
    """The instruction at each of these addresses, and then at the page."""
    return tries({name: execute(insn, rax=address) for name, address in (addresses | {"page": page}).items()})


def acted(ran: Seen, name: str) -> bool:
    """Whether that step loaded LSTAR, or wrote to the page that VMSAVE is given."""
    before = ran[f"{name}: before"].registers
    return ran[f"{name}: after"].value != (before["rdx"] << 32 | before["rax"]) or bool(ran[name].changes)


def faults(ran: Seen, name: str, vector: int) -> None:
    """That step raised this exception with error code 0 at its first instruction, and did nothing."""
    step = ran[name]
    assert (step.vector, step.error, step.rip) == (vector, 0, 0), f"{name}: vector {step.vector}"
    assert not acted(ran, name), name


def acts(ran: Seen, name: str) -> None:
    """That step did what the instruction is for."""
    assert ran[name].vector is None and acted(ran, name), name


def exist_in_protected_mode_only(ran: Seen) -> None:
    """#UD in real mode and virtual-8086 mode, with EFER.SVME=1."""
    first, *others = MODES
    for name in others:
        faults(ran, name, UD)
        assert ran[name].efer & EFER_SVME, name
    acts(ran, first)


@requirement("SVM-15.5.2-002")
@executes(in_each_mode(Insn.VMLOAD, PAGE))
def test_vmload_outside_protected_mode_is_ud(ran: Seen) -> None:
    """VMLOAD in real mode and in virtual-8086 mode raises #UD."""
    exist_in_protected_mode_only(ran)


@requirement("SVM-15.5.2-005")
@executes(in_each_mode(Insn.VMSAVE, OTHER))
def test_vmsave_outside_protected_mode_is_ud(ran: Seen) -> None:
    """VMSAVE in real mode and in virtual-8086 mode raises #UD."""
    exist_in_protected_mode_only(ran)


UNALIGNED = {f"bit {bit}": 1 << bit for bit in range(12)}


def need_a_page(ran: Seen) -> None:
    """#GP(0) for each unaligned address."""
    for name in UNALIGNED:
        faults(ran, name, GP)
    acts(ran, "page")


@requirement("SVM-15.5.2-003")
@executes(at_each(Insn.VMLOAD, PAGE, {name: PAGE | bit for name, bit in UNALIGNED.items()}))
def test_vmload_of_an_unaligned_address_is_gp(ran: Seen) -> None:
    """VMLOAD with any of rAX[11:0] set raises #GP(0) and loads nothing."""
    need_a_page(ran)


@requirement("SVM-15.5.2-006")
@executes(at_each(Insn.VMSAVE, OTHER, {name: OTHER | bit for name, bit in UNALIGNED.items()}))
def test_vmsave_to_an_unaligned_address_is_gp(ran: Seen) -> None:
    """VMSAVE with any of rAX[11:0] set raises #GP(0) and writes nothing."""
    need_a_page(ran)


# No processor here has fewer than 40 bits; a legal address without memory is another matter.
HIGH = {f"bit {bit}": 1 << bit for bit in range(40, 64)}


def need_physical_memory(ran: Seen) -> None:
    """#GP(0) for each address beyond physical memory."""
    width = ran["widths"].registers["rax"] & 0xFF
    beyond = [name for name, address in HIGH.items() if address >> width]
    assert len(beyond) >= 64 - 52
    for name in beyond:
        faults(ran, name, GP)
    acts(ran, "page")


@requirement("SVM-15.5.2-016")
@executes(at_each(Insn.VMLOAD, PAGE, {name: PAGE | bit for name, bit in HIGH.items()}))
def test_vmload_beyond_physical_memory_is_gp(ran: Seen) -> None:
    """VMLOAD with rAX at or above the maximum physical address raises #GP(0)."""
    need_physical_memory(ran)


@requirement("SVM-15.5.2-017")
@executes(at_each(Insn.VMSAVE, OTHER, {name: OTHER | bit for name, bit in HIGH.items()}))
def test_vmsave_beyond_physical_memory_is_gp(ran: Seen) -> None:
    """VMSAVE with rAX at or above the maximum physical address raises #GP(0)."""
    need_physical_memory(ran)
