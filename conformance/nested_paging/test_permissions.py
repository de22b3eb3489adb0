"""What a guest may do with a page: both levels must allow it (15.25.7)."""

from conformance.exception_intercepts.guests import PAGED
from conformance.intercepts.tried import GOES_ON, PF, Tries
from conformance.nested_paging.spaces import FETCH, READ, WRITE, Mapped, Space, faults
from harness.cases import Cpus, executes, requirement
from harness.lab.paging import FLAGS, Page
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Efer

READ_ONLY, SUPERVISORS, NO_EXECUTE = Page.P | Page.US, Page.P | Page.RW, FLAGS | Page.NX
LONG = Efer.SVME | Efer.LME | Efer.LMA
WITH_NX = LONG | Efer.NXE

SPACE = Space(
    {
        "plain": Mapped(),
        "guest read-only": Mapped(guest=READ_ONLY),
        "nested read-only": Mapped(nested=READ_ONLY),
        "both read-only": Mapped(guest=READ_ONLY, nested=READ_ONLY),
        "guest no execute": Mapped(guest=NO_EXECUTE),
        "nested no execute": Mapped(nested=NO_EXECUTE),
        "guest supervisor": Mapped(guest=SUPERVISORS),
        "nested supervisor": Mapped(nested=SUPERVISORS),
    }
)

PAGES = ("plain", "guest read-only", "nested read-only", "both read-only")
WRITES = Tries({name: SPACE.access(name, WRITE, cr0=PAGED | Cr0.WP) for name in PAGES})


@requirement("SVM-15.25.7-001")
@executes(WRITES.programs, cpus=Cpus.WITH_NPT)
def test_page_is_writable_at_both_levels(ran: Seen) -> None:
    """A write goes through where both levels allow it, else it is a #PF or a nested page fault."""
    WRITES.come_to(ran, {"plain": GOES_ON, "guest read-only": PF, "both read-only": PF})
    faults(ran, ["nested read-only"])


WITHOUT_WP = Tries({name: SPACE.access(name, WRITE, cr0=PAGED) for name in PAGES})


@requirement("SVM-15.25.7-006")
@executes(WITHOUT_WP.programs, cpus=Cpus.WITH_NPT)
def test_wp_of_the_guest_is_for_its_own_tables(ran: Seen) -> None:
    """With CR0.WP=0 the guest's supervisor writes to its own read-only pages, and not to those of the nested tables."""
    WITHOUT_WP.come_to(ran, dict.fromkeys(("plain", "guest read-only"), GOES_ON))
    faults(ran, ("nested read-only", "both read-only"))


FETCHED = ("plain", "guest no execute", "nested no execute")
FETCHES = Tries({name: SPACE.access(name, FETCH, efer=WITH_NX) for name in FETCHED})


@requirement("SVM-15.25.7-003")
@executes(FETCHES.programs, cpus=Cpus.WITH_NPT)
def test_page_is_executable_at_both_levels(ran: Seen) -> None:
    """A fetch goes through where both levels allow it, else it is a #PF or a nested page fault."""
    FETCHES.come_to(ran, {"plain": GOES_ON, "guest no execute": PF})
    faults(ran, ["nested no execute"])


WITHOUT_NX = Tries(
    {name: SPACE.access(name, FETCH, efer=LONG) for name in ("plain", "nested no execute")}
    | {"guest no execute, NXE": SPACE.access("guest no execute", FETCH, efer=WITH_NX)}
)


@requirement("SVM-15.25.7-007")
@executes(WITHOUT_NX.programs, cpus=Cpus.WITH_NPT)
def test_without_nxe_the_nested_level_decides(ran: Seen) -> None:
    """With the guest's NXE=0 what executes is what the nested tables, of a host with NXE=1, allow."""
    WITHOUT_NX.come_to(ran, {"plain": GOES_ON, "guest no execute, NXE": PF})
    faults(ran, ["nested no execute"])


CPLS = {"a supervisor": 0, "a user": 3}
ACCESSES = {"read": READ, "write": WRITE, "fetch": FETCH}
USERS = Tries(
    {
        f"{kind} by {who}, {page}": SPACE.access(page, insn, cpl=cpl)
        for page in ("nested supervisor", "guest supervisor")
        for who, cpl in CPLS.items()
        for kind, insn in ACCESSES.items()
    }
)


@requirement("SVM-15.25.7-005")
@executes(USERS.programs, cpus=Cpus.WITH_NPT)
def test_nested_supervisor_page_is_for_nobody(ran: Seen) -> None:
    """With U/S=0 in the nested entry every access exits, at CPL 0 as at CPL 3: to it the guest is a user."""
    faults(ran, (f"{kind} by {who}, nested supervisor" for kind in ACCESSES for who in CPLS))


@requirement("SVM-15.25.7-008")
@executes(USERS.programs, cpus=Cpus.WITH_NPT)
def test_guest_alone_says_whose_a_page_is(ran: Seen) -> None:
    """With U/S=1 in the nested entry and 0 in the guest's, its supervisor has the page, and its user gets #PF."""
    USERS.come_to(ran, {f"{kind} by a supervisor, guest supervisor": GOES_ON for kind in ACCESSES})
    USERS.come_to(ran, {f"{kind} by a user, guest supervisor": PF for kind in ACCESSES})
