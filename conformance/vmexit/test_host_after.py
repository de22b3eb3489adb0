"""What #VMEXIT leaves the host with (15.6): GIF, the TSC, CPL, breakpoints; and EXITINTINFO."""

from conformance.vmrun.guests import VMMCALL
from conformance.vmrun.test_gif import HOLDS, SENDS, VECTOR
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model.registers import Event

EOI = 0xB0

# GIF is 1 before, and RFLAGS.IF, too: an interrupt is taken at once, or waits for STGI. An earlier one is over.
STARTS = f"{HOLDS}\nmov dword [rbx + {EOI:#x}], 0\nstgi"
# The loop is for processors that look for interrupts at branches.
WAITS = f"mov r8d, 1\n{SENDS}\nmov ecx, 100\n.on: loop .on\nmov r8d, 2\nstgi\nnop\nmov r8d, 3"
WITHOUT_EXIT = Visit(guest(Mode.LONG), before=f"{STARTS}\n{WAITS}")
WITH_EXIT = Visit(guest(Mode.LONG), before=STARTS, after=WAITS)


@requirement("SVM-15.6-001")
@executes(visits({"after #VMEXIT": WITH_EXIT, "without": WITHOUT_EXIT}))
def test_gif_is_cleared(ran: Seen) -> None:
    """After #VMEXIT an interrupt is held until STGI, though GIF was 1 at VMRUN."""
    assert ran.vmrun("after #VMEXIT").after.exitcode == VMMCALL
    held, taken = ran["after #VMEXIT"], ran["without"]
    assert (held.vector, held.registers["r8"]) == (VECTOR, 2)
    assert (taken.vector, taken.registers["r8"]) == (VECTOR, 1), "it was not taken at once with GIF=1"


READS_TSC = "rdtsc\nshl rdx, 32\nlea {0}, [rax + rdx]\n"
READS = "rdtsc\nshl rdx, 32\nlea r10, [rax + rdx]\nvmmcall"
FAR = 1 << 52


@requirement("SVM-15.6-009")
@executes(visits({"": Visit(guest(Mode.LONG, READS, tsc_offset=FAR), READS_TSC.format("r8"), READS_TSC.format("r9"))}))
def test_tsc_offset_is_cleared(ran: Seen) -> None:
    """After #VMEXIT the host reads the TSC as before VMRUN, without the guest's TSC_OFFSET."""
    seen = registers(ran, "")
    assert seen["r10"] - seen["r8"] >= FAR, "the guest had no offset"
    assert 0 < seen["r9"] - seen["r8"] < FAR // 2


USER = guest(Mode.LONG, "mov ecx, cs\nvmmcall", cpl=3, cs__selector=0x2B, cs__attrib=0x2FB, ss__attrib=0xCF3)


@requirement("SVM-15.6-015")
@executes(visits({"": Visit(USER, after="mov r9, cr0\nmov r8d, cs")}))
def test_host_has_cpl_0(ran: Seen) -> None:
    """After the #VMEXIT of a guest at CPL 3 the host executes at CPL 0."""
    seen = registers(ran, "")
    assert ran.vmrun("").after.cpl == 3 and seen["rcx"] == 0x2B, "the guest was not at CPL 3"
    assert ran[""].vector is None, "the host could not read CR0"
    assert seen["r8"] & 3 == 0


LOCAL_AND_GLOBAL, ENABLES = 0x0000_0755, 0xFF


@requirement("SVM-15.6-016")
@executes(
    visits(
        {"": Visit(guest(), before=f"mov eax, {LOCAL_AND_GLOBAL:#x}\nmov dr7, rax\nmov r8, dr7", after="mov r9, dr7")}
    )
)
def test_breakpoints_of_the_host_are_disabled(ran: Seen) -> None:
    """After #VMEXIT all enable bits of DR7 are 0, which were set at VMRUN."""
    seen = registers(ran, "")
    assert seen["r8"] == LOCAL_AND_GLOBAL
    assert seen["r9"] & ENABLES == 0


PRESET = (1 << 64) - 1 & ~Event.EV


@requirement("SVM-15.6-021")
@executes({"": vmruns(guest(Mode.LONG, exitintinfo=PRESET))})
def test_exitintinfo_is_not_valid_without_an_event(ran: Seen) -> None:
    """After an exit that no event's delivery caused EXITINTINFO.V is 0, whatever was there before."""
    registers(ran, "VMRUN")
    assert ran.vmrun().after.exitintinfo & Event.V == 0
