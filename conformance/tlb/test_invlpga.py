"""INVLPGA: a guest's page is flushed by the host (15.16.2)."""

from conformance.tlb.moved import PAGE, again, follows, moving, tables
from conformance.vmrun.visits import visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.paging import FLAGS, Page
from harness.lab.seen import Seen
from harness.model.registers import Cr4

GLOBAL, WITH_PGE = FLAGS | Page.G, Cr4.PAE | Cr4.PGE
PLAIN, FOR_ALL = tables(places.OWN_TABLES), tables(places.OWN_TABLES + 0x1_0000, GLOBAL)
ASID = 1


def invlpga(asid: int) -> str:
    """Host code; the VMCB's address is in RAX again then."""
    return f"mov rsi, rax\nmov eax, {PAGE:#x}\nmov ecx, {asid}\ninvlpga\nmov rax, rsi\n"


FLUSHED = {
    "a page": moving(PLAIN, invlpga(ASID) + again(0), guest_asid=ASID),
    "a global page": moving(FOR_ALL, invlpga(ASID) + again(0), GLOBAL, guest_asid=ASID, cr4=WITH_PGE),
}


@requirement("SVM-15.16.2-001")
@executes(visits(FLUSHED))
def test_invlpga_flushes_a_guests_page(ran: Seen) -> None:
    """After INVLPGA of its address and the guest's ASID a page is where the guest's tables say, without other flush."""
    for name in FLUSHED:
        follows(ran, name)
