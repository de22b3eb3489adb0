"""What a processor with SEV does for a host and guests that do not use it (15.34): SYSCFG, SEV_STATUS, VMPAGE_FLUSH."""

from conformance.intercepts.tried import GOES_ON, Tries, tried
from conformance.msr_intercepts.maps import Maps
from conformance.vmrun.programs import GP
from harness.cases import NotRun, executes, requirement
from harness.lab import places
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import rdmsr, wrmsr
from harness.model.exits import MSR
from harness.model.registers import Nested
from harness.msr import MEM_ENCRYPTION, Msr

READ = False
STORES = f"mov eax, 0x5E5E5E5E\nmov [{places.DATA:#x}], eax\nmov ebx, [{places.DATA:#x}]"
MAPS = Maps()
ASKED = MAPS.tried(Msr.SEV_STATUS, READ)
ACCESSES = Tries(
    {
        "SEV bit clear": tried(STORES),
        "SEV bit set": tried(STORES, nested_control=int(Nested.SEV)),
        "read": ASKED,
        "read STAR": MAPS.tried(0xC000_0081, READ, (0xC000_0081, READ)),
        "read SEV_STATUS": MAPS.tried(Msr.SEV_STATUS, READ, (Msr.SEV_STATUS, READ)),
    },
    rdmsr(Msr.SYSCFG).model_copy(update={"name": "SYSCFG"}),
)


@requirement("SVM-15.34.3-005")
@executes(ACCESSES.programs)
def test_sev_bit_is_ignored_without_memory_encryption(ran: Seen) -> None:
    """While SYSCFG.MemEncryptionModEn is 0 a guest without nested paging runs with the VMCB's SEV bit as without it."""
    if ran["SYSCFG"].value & MEM_ENCRYPTION:
        raise NotRun("firmware has set SYSCFG.MemEncryptionModEn")
    for name in ("SEV bit clear", "SEV bit set"):
        ACCESSES.come_to(ran, {name: GOES_ON})
        assert ran.vmrun(name).step.registers["rbx"] == 0x5E5E_5E5E, name


@requirement("SVM-15.34.10-001")
@executes(ACCESSES.programs)
def test_sev_status_of_a_guest_without_sev_is_0(ran: Seen) -> None:
    """A guest that runs without SEV reads SEV_STATUS as 0, wherever it asks."""
    ACCESSES.come_to(ran, {"read": GOES_ON})
    seen = ran.vmrun("read")
    assert (seen.after.rax & 0xFFFF_FFFF, seen.step.registers["rdx"] & 0xFFFF_FFFF) == (0, 0)


@requirement("SVM-15.11-009")
@executes(ACCESSES.programs)
def test_sev_status_cannot_be_intercepted(ran: Seen) -> None:
    """A guest's RDMSR of SEV_STATUS does not exit though its bit of the map is set, as one of STAR does."""
    ACCESSES.come_to(ran, {"read STAR": MSR, "read SEV_STATUS": GOES_ON})


STATUS = Program(steps=(rdmsr(Msr.SEV_STATUS), wrmsr(Msr.SEV_STATUS, 0), wrmsr(Msr.SEV_STATUS, 1)))


@requirement("SVM-15.34.10-002")
@executes({"": STATUS})
def test_sev_status_cannot_be_written(ran: Seen) -> None:
    """Writing SEV_STATUS raises #GP(0), though it can be read."""
    assert ran[0].vector is None
    assert [(ran[n].vector, ran[n].error) for n in (1, 2)] == [(GP, 0)] * 2


ASID = 1
UNMAPPED = 0x7FFF_FFFF_F000
FLUSHES = Program(
    steps=(
        wrmsr(Msr.VMPAGE_FLUSH, places.DATA | ASID),
        wrmsr(Msr.VMPAGE_FLUSH, places.DATA),
        wrmsr(Msr.VMPAGE_FLUSH, UNMAPPED | ASID),
    )
)


@requirement("SVM-15.34.9-001")
@executes({"": FLUSHES})
def test_page_flush_of_asid_0_is_gp(ran: Seen) -> None:
    """Writing VMPAGE_FLUSH with ASID 0 raises #GP(0), and with ASID 1 it does not."""
    assert (ran[0].vector, ran[1].vector, ran[1].error) == (None, GP, 0)


@requirement("SVM-15.34.9-002")
@executes({"": FLUSHES})
def test_page_flush_of_an_unmapped_page_is_gp(ran: Seen) -> None:
    """Writing VMPAGE_FLUSH with an address that is not mapped raises #GP(0), and with one that is it does not."""
    assert (ran[0].vector, ran[2].vector, ran[2].error) == (None, GP, 0)
