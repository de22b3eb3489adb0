"""TSC_OFFSET (15.5.1): what a guest's reads of the TSC return. The host reads the TSC before and after each guest."""

from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import Absent, executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
from harness.lab.steps import cpuid

OFFSETS = {"no": 0, "positive": 1 << 40, "negative": (1 << 64) - (1 << 40)}
READS_TSC = "rdtsc\nshl rdx, 32\nlea {0}, [rax + rdx]\n"


def reading(how: str, offset: int) -> Visit:
    """A guest that reads the TSC so; R8 and R9 hold what the host read before and after, R10 what the guest did."""
    code = f"{how}\nmov eax, eax\nshl rdx, 32\nlea r10, [rax + rdx]\nvmmcall"
    return Visit(guest(Mode.LONG, code, tsc_offset=offset), READS_TSC.format("r8"), READS_TSC.format("r9"))


WAYS = {"RDTSC": "rdtsc", "RDTSCP": "rdtscp", "RDMSR": "mov ecx, 0x10\nrdmsr"}
GUESTS = {
    f"{way}, {name} offset": reading(code, offset) for way, code in WAYS.items() for name, offset in OFFSETS.items()
}
EXTENDED = "Fn8000_0001"
READ = visits(GUESTS, first=(cpuid(0x8000_0001).model_copy(update={"name": EXTENDED}),))


def adds_the_offset(ran: Seen, way: str) -> None:
    """Each guest that read so read what the host could have read meanwhile, plus the offset."""
    for name, offset in OFFSETS.items():
        seen = registers(ran, f"{way}, {name} offset")
        passed = (seen["r10"] - offset - seen["r8"]) % (1 << 64)
        assert passed <= seen["r9"] - seen["r8"], f"{name} offset: {seen['r10']:#x} after {seen['r8']:#x}"


@requirement("SVM-15.5.1-035")
@executes(READ)
def test_rdtsc_adds_the_offset(ran: Seen) -> None:
    """RDTSC of a guest returns the host's TSC plus TSC_OFFSET."""
    adds_the_offset(ran, "RDTSC")


@requirement("SVM-15.5.1-035")
@executes(READ)
def test_rdtscp_adds_the_offset(ran: Seen) -> None:
    """RDTSCP of a guest returns the host's TSC plus TSC_OFFSET."""
    if not ran[EXTENDED].registers["rdx"] & 1 << 27:
        raise Absent("Fn8000_0001_EDX[27] (RDTSCP)")
    adds_the_offset(ran, "RDTSCP")


@requirement("SVM-15.5.1-035")
@executes(READ)
def test_rdmsr_of_the_tsc_adds_the_offset(ran: Seen) -> None:
    """RDMSR of the TSC in a guest returns the host's TSC plus TSC_OFFSET."""
    adds_the_offset(ran, "RDMSR")
