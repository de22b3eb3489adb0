"""The PDPEs of a host with PAE paging (15.6): #VMEXIT reads them again from where the host's CR3 says."""

from conformance.vmrun.guests import VMMCALL
from conformance.vmrun.visits import Visit, registers, visits
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Mode, guest
from harness.lab.paging import Form, Page, PageTables
from harness.lab.program import SCRATCH_END, StepMode
from harness.lab.seen import Seen
from harness.machine.ending import How

ADDRESS, NUMBER = 1 << 30, 0x1234_5678
PAGE = places.DATA + 0x40_0000
TABLES = PageTables(places.OWN_TABLES, Form.PAE).identity(SCRATCH_END).map(ADDRESS, PAGE)
AT = TABLES.root + 8
"""Where the PDPE is for the address."""

ENTRY = int.from_bytes(TABLES.regions[TABLES.root][8:16], "little")
ILLEGAL = ENTRY | Page.RW
"""R/W is reserved in a PDPE."""


def writing(entry: int, after: str) -> Visit:
    """The host runs on tables whose PDPE for the address is not there; the guest writes that PDPE."""
    it = guest(Mode.LONG, f"mov rcx, {entry:#x}\nmov [{AT:#x}], rcx\nvmmcall")
    before = f"mov dword [{AT:#x}], 0\nmov eax, {TABLES.root:#x}\nmov cr3, eax"
    return Visit(it.having(TABLES.regions | {PAGE: NUMBER.to_bytes(4, "little")}), before, after, StepMode.PAE)


@requirement("SVM-15.6-013")
@executes(visits({"": writing(ENTRY, f"mov ebx, [{ADDRESS:#x}]")}))
def test_pdpes_are_read_again(ran: Seen) -> None:
    """A PDPE that the guest has written is in force in the host."""
    seen = registers(ran, "")
    assert (ran[""].vector, seen["rbx"]) == (None, NUMBER)


LEGAL, WRONG = writing(ENTRY, "nop"), writing(ILLEGAL, "nop")


@requirement("SVM-15.6-025")
@executes(visits({"legal": LEGAL, "illegal": WRONG}))
def test_illegal_pdpe_shuts_down(ran: Seen) -> None:
    """After a guest has written a PDPE with a reserved bit the machine shuts down; without that bit it does not."""
    assert ran.vmrun("legal").exit == VMMCALL
    assert ran.ended.how in (How.SHUTDOWN, How.TRIPLE_FAULT, How.RESET), f"the machine {ran.ended}"
