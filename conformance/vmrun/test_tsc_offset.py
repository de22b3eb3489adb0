"""TSC_OFFSET (15.5.1): what a guest's reads of the TSC return. The host reads the TSC before and after each guest."""

from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Absent, executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import cpuid

OFFSETS = {"without an offset": 0, "with a positive offset": 1 << 40, "with a negative offset": (1 << 64) - (1 << 40)}
READS_TSC = "rdtsc\nshl rdx, 32\nlea {0}, [rax + rdx]\n"
_RDTSCP = "rdtscp"


def reading(how: str) -> dict[str, Program]:
    """Guests that read the TSC so, with each offset; R8 and R9 hold what the host read, R10 what the guest did."""
    code = f"{how}\nmov eax, eax\nshl rdx, 32\nlea r10, [rax + rdx]\nvmmcall"
    them = {
        name: Visit(guest(Mode.LONG, code, tsc_offset=offset), READS_TSC.format("r8"), READS_TSC.format("r9"))
        for name, offset in OFFSETS.items()
    }
    return visits(them, first=(cpuid(0x8000_0001).model_copy(update={"name": _RDTSCP}),))


def is_offset(ran: Seen) -> None:
    """Each guest read what the host could have read meanwhile, plus the offset."""
    for name, offset in OFFSETS.items():
        seen = registers(ran, name)
        passed = (seen["r10"] - offset - seen["r8"]) % (1 << 64)
        assert passed <= seen["r9"] - seen["r8"], f"{name} the guest read {seen['r10']:#x} after {seen['r8']:#x}"


@requirement("SVM-15.5.1-035")
@executes(reading("rdtsc"))
def test_rdtsc_adds_the_offset(ran: Seen) -> None:
    """RDTSC of a guest returns the host's TSC plus TSC_OFFSET."""
    is_offset(ran)


@requirement("SVM-15.5.1-035")
@executes(reading("rdtscp"))
def test_rdtscp_adds_the_offset(ran: Seen) -> None:
    """RDTSCP of a guest returns the host's TSC plus TSC_OFFSET."""
    if not ran[_RDTSCP].registers["rdx"] & 1 << 27:
        raise Absent("Fn8000_0001_EDX[27] (RDTSCP)")
    is_offset(ran)


@requirement("SVM-15.5.1-035")
@executes(reading("mov ecx, 0x10\nrdmsr"))
def test_rdmsr_of_the_tsc_adds_the_offset(ran: Seen) -> None:
    """RDMSR of the TSC in a guest returns the host's TSC plus TSC_OFFSET."""
    is_offset(ran)
