"""TSC_RATIO, C000_0104h (15.30.5): the register, and what it does to the TSC of guests and of the host."""

from conformance.vmrun.programs import GP
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.program import Program, Step
from harness.lab.programs import program
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm, rdmsr, wrmsr
from harness.msr import Msr

ONE = 1 << 32
"""1.0 as an 8.32 fixed-point number."""

WRITTEN = (0xA5_1234_5678, 0x01_0000_0001, 0xFF_FFFF_FFFF)
RESERVED = (40, 41, 52, 63)

REGISTER = Program(
    steps=(
        rdmsr(Msr.TSC_RATIO).model_copy(update={"name": "first"}),
        *(step for value in WRITTEN for step in (wrmsr(Msr.TSC_RATIO, value), rdmsr(Msr.TSC_RATIO))),
        *(wrmsr(Msr.TSC_RATIO, ONE | 1 << bit).model_copy(update={"name": f"bit {bit}"}) for bit in RESERVED),
        rdmsr(Msr.TSC_RATIO).model_copy(update={"name": "last"}),
        wrmsr(Msr.TSC_RATIO, ONE),
    )
)


@requirement("SVM-15.30.5-001")
@executes({"": REGISTER})
def test_tsc_ratio_is_1_after_reset(ran: Seen) -> None:
    """TSC_RATIO reads 1.0, that is 1_0000_0000h, after reset."""
    assert (ran["first"].vector, hex(ran["first"].value)) == (None, hex(ONE))


@requirement("SVM-15.30.5-004")
@executes({"": REGISTER})
def test_tsc_ratio_reads_as_written(ran: Seen) -> None:
    """TSC_RATIO[39:0] reads as it was written."""
    assert [hex(ran[n].value) for n in (2, 4, 6)] == [hex(value) for value in WRITTEN]


@requirement("SVM-15.30.5-005")
@executes({"": REGISTER})
def test_reserved_bits_of_tsc_ratio_fault(ran: Seen) -> None:
    """Writing TSC_RATIO with any of bits 63:40 set raises #GP(0), and changes nothing."""
    seen = {bit: (ran[f"bit {bit}"].vector, ran[f"bit {bit}"].error) for bit in RESERVED}
    assert seen == dict.fromkeys(RESERVED, (GP, 0))
    assert hex(ran["last"].value) == hex(WRITTEN[-1])


READS = {
    "RDTSC": "rdtsc",
    "RDMSR": f"mov ecx, {Msr.TSC:#x}\nrdmsr",
}
"""Into EDX:EAX."""

WHOLE = "shl rdx, 32\nor rax, rdx"
RATIOS = {"1.0": ONE, "2.0": 2 * ONE}
OFFSET = 1 << 48

GUESTS = {
    f"{name} at {ratio}": guest(Mode.LONG, f"{read}\n{WHOLE}\nvmmcall", tsc_offset=OFFSET)
    for ratio in RATIOS
    for name, read in READS.items()
}
AT = {name: places.VMCBS + number * places.PAGE for number, name in enumerate(GUESTS)}
BETWEEN = f"rdtsc\n{WHOLE}\nmov r12, rax\nmov rax, rbx\nvmrun\nrdtsc\n{WHOLE}\nmov r13, rax"
"""The host's TSC before the guest in R12, and after it in R13."""

SCALED = program(
    *enable_svm(),
    *(
        step
        for ratio, value in RATIOS.items()
        for step in (
            wrmsr(Msr.TSC_RATIO, value),
            *(code(BETWEEN, rbx=at, vmcb=at, name=name) for name, at in AT.items() if name.endswith(ratio)),
        )
    ),
    wrmsr(Msr.TSC_RATIO, ONE),
    guests={AT[name]: it for name, it in GUESTS.items()},
)


@requirement("SVM-15.30.5-002")
@executes({"": SCALED})
def test_guest_reads_the_scaled_tsc(ran: Seen) -> None:
    """What a guest reads of the TSC is the host's, times TSC_RATIO, plus TSC_OFFSET."""
    for name in GUESTS:
        times = 2 if name.endswith("2.0") else 1
        before, after = (ran[name].registers[register] for register in ("r12", "r13"))
        assert times * before <= ran.vmrun(name).after.rax - OFFSET <= times * after, name


def host_reads(ratio: int) -> tuple[Step, ...]:
    """Set the ratio, and read the TSC in the host by each way."""
    return (
        wrmsr(Msr.TSC_RATIO, ratio),
        *(code(read, rcx=Msr.TSC, name=f"{name} at {ratio / ONE}") for name, read in READS.items()),
    )


@requirement("SVM-15.30.5-003")
@executes({"": Program(steps=(*host_reads(ONE), *host_reads(4 * ONE), wrmsr(Msr.TSC_RATIO, ONE)))})
def test_host_reads_the_tsc_as_it_is(ran: Seen) -> None:
    """A read of the TSC in the host is not scaled: with a ratio of 4.0 it goes on from where it was with 1.0."""
    for name in READS:
        plain, scaled = ran[f"{name} at 1.0"].value, ran[f"{name} at 4.0"].value
        assert plain <= scaled < 2 * plain, name


HOSTS, GUESTS_OWN = 1 << 54, 1 << 56
WRITE = f"mov ecx, {Msr.TSC:#x}\nmov edx, {GUESTS_OWN >> 32:#x}\nxor eax, eax\nwrmsr\nvmmcall"


@requirement("SVM-15.30.5-007")
@executes(
    {
        "": program(
            *enable_svm(),
            wrmsr(Msr.TSC_RATIO, 2 * ONE),
            wrmsr(Msr.TSC, HOSTS),
            code("rdtsc", name="after the host's"),
            code("vmrun", rax=places.VMCBS, vmcb=places.VMCBS, name="guest"),
            code("rdtsc", name="after the guest's"),
            wrmsr(Msr.TSC_RATIO, ONE),
            guests={places.VMCBS: guest(Mode.LONG, WRITE)},
        )
    }
)
def test_a_written_tsc_is_not_scaled(ran: Seen) -> None:
    """What host or guest write to the TSC with a ratio of 2.0 is what the host then reads, but for the time between."""
    for name, written in (("after the host's", HOSTS), ("after the guest's", GUESTS_OWN)):
        assert written <= ran[name].value < written + written // 2, name
