"""The guest's task priority: CR8, V_TPR, and the TPR of the local APIC (15.21.2)."""

from conformance.intercepts.tried import GOES_ON
from conformance.interrupt_intercepts.guests import (
    LINGERS,
    MASKED,
    STI,
    TAKES,
    VECTOR,
    ends,
    interruptible,
    pending,
    sent,
)
from conformance.vmrun.guests import each_ends
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab.guest import Mode, guest
from harness.lab.seen import Seen
from harness.model import exits

HOST, VIRTUAL, WRITTEN = 3, 5, 9
"""TPRs: the host's before VMRUN, the VMCB's, and what the guest writes."""

NO_TPR = "xor r8d, r8d\nmov cr8, r8\n"


def host_tpr(value: int) -> str:
    """The host sets the TPR of its APIC."""
    return f"mov r9d, {value}\nmov cr8, r9\n"


READS_TPR = "mov edi, 0xFEE00080\nmov r9d, [rdi]\nshr r9d, 4\n"
"""The host's TPR in R9, as the APIC has it."""

WRITES = f"mov r10d, {WRITTEN}\nmov cr8, r10\n"
READS = "mov rcx, cr8\n"
CODES = {"idle": "nop\n", "reads": READS, "writes": WRITES, "writes and reads": WRITES + READS}


def accesses(vintr: int) -> dict[str, Visit]:
    """A guest for each code, with this V_INTR."""
    return {
        name: Visit(guest(Mode.LONG, f"{code}vmmcall", vintr=vintr), host_tpr(HOST), READS_TPR + NO_TPR)
        for name, code in CODES.items()
    }


ACCESSES = visits(accesses(VIRTUAL) | {f"masked, {name}": visit for name, visit in accesses(MASKED | VIRTUAL).items()})


def v_tpr(ran: Seen, name: str) -> int:
    """V_TPR as the exit wrote it."""
    return ran.vmrun(name).after.vintr & 0xFF


@requirement("SVM-15.21.2-001")
@executes(ACCESSES)
def test_v_tpr_is_written_back(ran: Seen) -> None:
    """After the exit the VMCB's V_TPR is what the guest has written to CR8, and else what it was."""
    for name, tpr in {"masked, writes": WRITTEN, "masked, idle": VIRTUAL}.items():
        registers(ran, name)
        assert v_tpr(ran, name) == tpr, name


@requirement("SVM-15.21.2-003")
@executes(ACCESSES)
def test_unmasked_cr8_is_written_to_both(ran: Seen) -> None:
    """With V_INTR_MASKING=0 MOV to CR8 sets the host's TPR and V_TPR."""
    assert (registers(ran, "writes")["r9"], v_tpr(ran, "writes")) == (WRITTEN, WRITTEN)
    assert registers(ran, "idle")["r9"] == HOST


@requirement("SVM-15.21.2-004")
@executes(ACCESSES)
def test_unmasked_cr8_is_that_of_the_host(ran: Seen) -> None:
    """With V_INTR_MASKING=0 MOV from CR8 returns the host's TPR, also after a MOV to it."""
    assert [registers(ran, name)["rcx"] for name in ("reads", "writes and reads")] == [HOST, WRITTEN]


@requirement("SVM-15.21.2-005")
@executes(ACCESSES)
def test_masked_cr8_is_written_to_v_tpr_alone(ran: Seen) -> None:
    """With V_INTR_MASKING=1 MOV to CR8 sets V_TPR, and the host's TPR stays."""
    assert (registers(ran, "masked, writes")["r9"], v_tpr(ran, "masked, writes")) == (HOST, WRITTEN)


@requirement("SVM-15.21.2-006")
@executes(ACCESSES)
def test_masked_cr8_is_v_tpr(ran: Seen) -> None:
    """With V_INTR_MASKING=1 MOV from CR8 returns V_TPR, also after a MOV to it."""
    seen = [registers(ran, name)["rcx"] for name in ("masked, reads", "masked, writes and reads")]
    assert seen == [VIRTUAL, WRITTEN]


WAITS = sent(0x4000 + VECTOR, "sti")
HIGH = 15
GOVERNED = visits(
    {
        "APIC 0, V_TPR 15": Visit(interruptible(LINGERS, vintr=MASKED | HIGH), WAITS, TAKES),
        "APIC 15, V_TPR 0": Visit(interruptible(LINGERS, vintr=MASKED), host_tpr(HIGH) + WAITS, NO_TPR + TAKES),
        "unmasked, APIC 0, V_TPR 15": Visit(interruptible(LINGERS, vintr=HIGH), WAITS, TAKES),
        "unmasked, APIC 15, V_TPR 0": Visit(interruptible(LINGERS), host_tpr(HIGH) + WAITS, NO_TPR + TAKES),
        "virtual, APIC 15, V_TPR 0": Visit(pending(STI, flags=0), host_tpr(HIGH), NO_TPR),
        "virtual, APIC 0, V_TPR 15": Visit(pending(STI, flags=0, vintr=MASKED | HIGH)),
    }
)


@requirement("SVM-15.21.2-002")
@executes(GOVERNED)
def test_tpr_of_the_apic_governs_physical_interrupts(ran: Seen) -> None:
    """An interrupt exits below the APIC's TPR with V_TPR=15, and not above it with V_TPR=0, masked or not."""
    for masked in ("", "unmasked, "):
        assert ends(ran, f"{masked}APIC 0, V_TPR 15") == (exits.INTR, VECTOR)
        assert ends(ran, f"{masked}APIC 15, V_TPR 0") == (GOES_ON, VECTOR)


@requirement("SVM-15.21.2-008")
@executes(GOVERNED)
def test_v_tpr_governs_virtual_interrupts(ran: Seen) -> None:
    """A virtual interrupt comes with V_TPR=0 though the APIC's TPR is 15, and waits with V_TPR=15 though that is 0."""
    each_ends(ran, {"virtual, APIC 15, V_TPR 0": exits.VINTR, "virtual, APIC 0, V_TPR 15": GOES_ON})
