"""What the local APIC has besides for hypervisors: an interrupt enable register, and a specific EOI (15.21.7)."""

from harness.cases import executes, requirement
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import code

CONTROL, SEOI, IER, ISR = 0x410, 0x420, 0x480, 0x100
ENABLES = f"mov dword [rdi + {CONTROL:#x}], 3\n"
"""Extended APIC control: bit 0 enables writes of the interrupt enable register, bit 1 the specific EOI."""

LOW, HIGH = 0x50, 0x90
PARTS = 8
RESULTS = ("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
PATTERNS = [0x1248_FFFF << n & 0xFFFF_FFFF | 0xFFFF for n in range(PARTS)]
ONES = 0xFFFF_FFFF


def at(bank: int, vector: int) -> str:
    """The 32 bits of a bank of the APIC that hold a vector's."""
    return f"dword [rdi + {bank + vector // 32 * 16:#x}]"


def bit(vector: int) -> int:
    """Its bit there."""
    return 1 << vector % 32


def sends(vector: int) -> str:
    """The processor sends itself an interrupt."""
    return f"""
        mov edx, [rdi + 0x20]
        mov [rdi + 0x310], edx
        mov dword [rdi + 0x300], {0x4000 | vector:#x}
    """


BEGINS = "mov edi, 0xFEE00000\nmov dword [rdi + 0xF0], 0x1FF\n" + ENABLES
WAITS = "mov ecx, 200\n.again: pause\nloop .again\n"
READS = "".join(f"mov {name}d, [rdi + {IER + 16 * n:#x}]\n" for n, name in enumerate(RESULTS))


def fills(values: list[int]) -> str:
    """The register gets these 256 bits."""
    return "".join(f"mov dword [rdi + {IER + 16 * n:#x}], {value:#x}\n" for n, value in enumerate(values))


TAKES = f"{sends(LOW)}{sends(HIGH)}sti\n{WAITS}"
PROGRAM = {
    "": Program(
        steps=(
            code(BEGINS + READS, name="after reset"),
            code(BEGINS + fills(PATTERNS) + READS + fills([ONES] * PARTS), name="written"),
            code(BEGINS + READS, name="written again"),
            code(BEGINS + sends(LOW) + "sti\n" + WAITS, name="low in service"),
            code(BEGINS + sends(HIGH) + "sti\n" + WAITS, name="both in service"),
            code(
                f"{BEGINS}mov r8d, {at(ISR, LOW)}\nmov r9d, {at(ISR, HIGH)}\n"
                f"mov dword [rdi + {SEOI:#x}], {LOW:#x}\nmov r10d, {at(ISR, LOW)}\nmov r11d, {at(ISR, HIGH)}\n"
                f"mov dword [rdi + {SEOI:#x}], {HIGH:#x}\nmov r12d, {at(ISR, HIGH)}\n",
                name="specific EOI",
            ),
            code(f"{BEGINS}and {at(IER, HIGH)}, {~bit(HIGH) & ONES:#x}\n{TAKES}", name="high disabled"),
            code(f"{BEGINS}mov dword [rdi + 0xB0], 0\n{fills([ONES] * PARTS)}{TAKES}", name="enabled"),
        )
    )
}


def ier(ran: Seen, name: str) -> list[str]:
    """The interrupt enable register as a step read it."""
    assert ran[name].vector is None
    return [hex(ran[name].registers[register]) for register in RESULTS]


@requirement("SVM-15.21.7-003")
@executes(PROGRAM)
def test_interrupts_are_enabled_after_reset(ran: Seen) -> None:
    """All 256 bits of the interrupt enable register are 1 after reset."""
    assert ier(ran, "after reset") == [hex(ONES)] * PARTS


@requirement("SVM-15.21.7-001")
@executes(PROGRAM)
def test_interrupt_enable_register_can_be_written(ran: Seen) -> None:
    """What software writes into the interrupt enable register it reads back, for all vectors from 16 on."""
    assert ier(ran, "written") == [hex(value) for value in PATTERNS]
    assert ier(ran, "written again") == [hex(ONES)] * PARTS


@requirement("SVM-15.21.7-004")
@executes(PROGRAM)
def test_disabled_vector_is_passed_over(ran: Seen) -> None:
    """While a higher vector waits that is disabled, a lower one is taken; once it is enabled it is taken itself."""
    assert [ran[name].vector for name in ("high disabled", "enabled")] == [LOW, HIGH]


@requirement("SVM-15.21.7-002")
@executes(PROGRAM)
def test_specific_eoi_ends_one_service(ran: Seen) -> None:
    """A specific EOI for the lower of two vectors in service ends that one's, and one for the higher the other's."""
    assert [ran[name].vector for name in ("low in service", "both in service")] == [LOW, HIGH]
    left = ran["specific EOI"].registers
    before, after = (left["r8"], left["r9"]), (left["r10"], left["r11"])
    assert (before, after, left["r12"]) == ((bit(LOW), bit(HIGH)), (0, bit(HIGH)), 0)
