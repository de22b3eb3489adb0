"""Faults of a guest's own tables, and which comes first where the nested tables have one, too (15.25.6)."""

from conformance.event_injection.guests import Tables, taken
from conformance.exception_intercepts.guests import PAGED
from conformance.intercepts.tried import PF, Changes, Tries
from conformance.nested_paging.spaces import (
    PDPT,
    PT,
    READ,
    RSV,
    RW,
    US,
    WRITE,
    Mapped,
    P,
    Space,
    faults,
)
from harness.cases import Cpus, executes, requirement
from harness.lab.guest import Guest
from harness.lab.paging import LARGE, Page
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.model.exits import NPF
from harness.model.registers import Cr0

READ_ONLY, SUPERVISORS = Page.P | Page.US, Page.P | Page.RW
WP: Changes = {"cr0": PAGED | Cr0.WP}
VECTOR = 14

OWN = Space(
    {
        "absent": Mapped(guest=0),
        "read-only": Mapped(guest=READ_ONLY),
        "supervisor": Mapped(guest=SUPERVISORS),
        "reserved": Mapped(),
    }
)
"""Pages that the guest's tables alone forbid."""
OWN.guest.map(OWN.linear("reserved"), 0, 1 << 39)


def handles(page: str, insn: str) -> Guest:
    """A guest with an IDT whose access is about to fault."""
    it = Tables().guest(0, f"{insn}\nvmmcall", rcx=OWN.linear(page), **OWN.changes | WP)
    return it.having(OWN.memory)


INTERCEPTED = Tries(
    {
        "absent": OWN.access("absent", READ),
        "read-only": OWN.access("read-only", WRITE, **WP),
        "supervisor": OWN.access("supervisor", READ, cpl=3),
        "reserved": OWN.access("reserved", READ),
    }
)
HANDLED = {"absent": handles("absent", READ), "read-only": handles("read-only", WRITE)}
ERRORS = {"absent": 0, "read-only": P | RW, "supervisor": P | US}


@requirement("SVM-15.25.6-002")
@executes(INTERCEPTED.programs, cpus=Cpus.WITH_NPT)
def test_faults_of_guest_tables_are_page_faults(ran: Seen) -> None:
    """What the guest's tables lack, forbid or have wrong is a #PF, which exits as such when it is intercepted."""
    INTERCEPTED.come_to(ran, dict.fromkeys(("absent", "read-only", "supervisor", "reserved"), PF))
    assert {name: ran.vmrun(name).info1 for name in ERRORS} == ERRORS
    assert ran.vmrun("reserved").info1 & RSV


@requirement("SVM-15.25.6-002")
@executes({"": vmruns(HANDLED)}, cpus=Cpus.WITH_NPT)
def test_faults_of_guest_tables_go_to_the_guest(ran: Seen) -> None:
    """When it is not intercepted the guest's handler has that #PF, with error code and linear address."""
    for name in HANDLED:
        assert taken(ran, name) == VECTOR
        registers = ran.vmrun(name).step.registers
        assert (registers["rcx"], registers["rsi"]) == (ERRORS[name], OWN.linear(name))


BOTH = Space(
    {
        "PTE absent, its table too": Mapped(guest=0, tables={PT: 0}),
        "PDE absent, the table below too": Mapped(tables={PT: 0}),
        "two tables absent": Mapped(tables={PDPT: 0, PT: 0}),
        "read-only, and absent": Mapped(guest=READ_ONLY, nested=0),
        "supervisor, and absent": Mapped(guest=SUPERVISORS, nested=0),
        "absent": Mapped(nested=0),
    }
)
"""Pages that both levels forbid."""
BOTH.guest.map(BOTH.linear("PDE absent, the table below too"), 0, LARGE, flags=0)

FIRST = Tries(
    {
        **{name: BOTH.access(name, READ) for name in ("PTE absent, its table too", "two tables absent")},
        "PDE absent, the table below too": BOTH.access("PDE absent, the table below too", READ),
        "read-only, and absent": BOTH.access("read-only, and absent", WRITE, **WP),
        "supervisor, and absent": BOTH.access("supervisor, and absent", READ, cpl=3),
        "absent": BOTH.access("absent", READ),
    }
)


@requirement("SVM-15.25.6-001")
@executes(FIRST.programs, cpus=Cpus.WITH_NPT)
def test_walk_goes_level_by_level(ran: Seen) -> None:
    """A guest table that is absent exits before what is in it counts, and after what is in the tables above it."""
    tables = {"PTE absent, its table too": PT, "two tables absent": PDPT}
    faults(ran, tables)
    assert {name: ran.vmrun(name).info2 & -0x1000 for name in tables} == {
        name: BOTH.table(name, depth) for name, depth in tables.items()
    }
    FIRST.come_to(ran, {"PDE absent, the table below too": PF})


@requirement("SVM-15.25.6-003")
@executes(FIRST.programs, cpus=Cpus.WITH_NPT)
def test_guest_permissions_come_before_the_final_translation(ran: Seen) -> None:
    """An access that the guest's tables forbid is a #PF also where the page is absent at the nested level."""
    FIRST.come_to(ran, {"read-only, and absent": PF, "supervisor, and absent": PF, "absent": NPF})
