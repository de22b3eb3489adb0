"""VMMCALL: a guest's call to its hypervisor, from any privilege level, where it is intercepted (15.18)."""

from conformance.vmrun.guests import CATCH, VMMCALL, each_ends, runs
from harness.boot import Insn
from harness.cases import executes, requirement
from harness.lab.guest import Guest, Mode, guest
from harness.lab.program import Program
from harness.lab.seen import Seen
from harness.lab.steps import enable_svm, execute
from harness.model import exits
from harness.model.registers import Misc2

UD, GP = exits.EXCEPTION + 6, exits.EXCEPTION + 13


def at_cpl(cpl: int, code: str, **changes: int) -> Guest:
    """A guest in protected mode at this CPL."""
    attributes = {"cs__attrib": 0xC9B | cpl << 5, "ss__attrib": 0xC93 | cpl << 5}
    return guest(Mode.PROTECTED, code, cpl=cpl, intercept_exceptions=CATCH, **attributes, **changes)


CALLS = {f"VMMCALL at CPL {cpl}": at_cpl(cpl, "vmmcall") for cpl in range(4)}
CLEARS = {f"CLTS at CPL {cpl}": at_cpl(cpl, "clts\nvmmcall") for cpl in range(4)}


@requirement("SVM-15.18-001")
@executes(runs(CALLS | CLEARS))
def test_vmmcall_at_any_cpl_exits(ran: Seen) -> None:
    """VMMCALL that is intercepted exits at CPL 0, 1, 2 and 3, where CLTS raises #GP at all but the first."""
    each_ends(ran, dict.fromkeys(CALLS, VMMCALL) | dict(zip(CLEARS, (VMMCALL, GP, GP, GP), strict=True)))


UNASKED = {f"not intercepted at CPL {cpl}": at_cpl(cpl, "vmmcall", intercept_misc2=Misc2.VMRUN) for cpl in (0, 3)}
ASKED = {f"intercepted at CPL {cpl}": at_cpl(cpl, "vmmcall") for cpl in (0, 3)}


@requirement("SVM-15.18-002")
@executes(runs(UNASKED | ASKED))
def test_vmmcall_that_is_not_intercepted_is_ud(ran: Seen) -> None:
    """VMMCALL that is not intercepted raises #UD in the guest, at CPL 0 and at CPL 3."""
    each_ends(ran, dict.fromkeys(UNASKED, UD) | dict.fromkeys(ASKED, VMMCALL))
    assert all(it.after.rip == it.before.rip for it in ran.vmruns())


@requirement("SVM-15.18-004")
@executes({"": Program(steps=(*enable_svm(), execute(Insn.VMMCALL), execute(Insn.CLGI)))})
def test_vmmcall_in_the_host_is_ud(ran: Seen) -> None:
    """VMMCALL in the host raises #UD with EFER.SVME=1, where CLGI is executed."""
    assert [(ran[n].vector, ran[n].rip) for n in (2, 3)] == [(6, 0), (None, 3)]
