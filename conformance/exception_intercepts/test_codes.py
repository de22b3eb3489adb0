"""Every exception that is intercepted exits with 40h and its vector, with its error code in EXITINFO1 (15.12)."""

from conformance.exception_intercepts.guests import (
    ABSENT,
    AC,
    BEYOND,
    BP,
    BR,
    DE,
    DF,
    GP,
    NM,
    NP,
    OF,
    PF,
    RAISED,
    SHORT_TSS,
    SS,
    TS,
    UD,
)  # fmt: skip
from conformance.intercepts.tried import NOWHERE, Tries, without
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model import exits

ALL = Tries(RAISED)
WRITE, USER, FETCH = 1 << 1, 1 << 2, 1 << 4
"""Bits of #PF's error code."""

ERROR_CODES = {
    "#DF": 0, "#TS": SHORT_TSS, "#NP": ABSENT, "#SS": ABSENT, "#GP": BEYOND,
    "#GP of an address": 0, "#PF": 0, "#PF of a write": WRITE, "#PF of a user": WRITE | USER,
    "#PF of a fetch": FETCH, "#PF in paged real mode": WRITE, "#AC": 0,
}  # fmt: skip


USUAL = ("#DE", "#DB", "#UD", "#NM", "#NP", "#SS", "#GP", "#GP of an address", "#PF", "#PF of a write")
"""Exceptions that every engine has, and has right."""


def exits_as(ran: Seen, code: int, *names: str) -> None:
    """Each exits with that code, and with its error code in EXITINFO1 if it has one."""
    ALL.come_to(ran, dict.fromkeys(names, code))
    errors = {name: ran.vmrun(name).info1 for name in names if name in ERROR_CODES}
    assert errors == {name: ERROR_CODES[name] for name in errors}


@requirement("SVM-15.12-001")
@executes(ALL.programs)
def test_code_is_that_of_the_vector(ran: Seen) -> None:
    """Bit n of the intercepts makes vector n exit with 40h+n, and without it the exception does not exit so."""
    ALL.come_to(ran, {name: RAISED[name].intercepts[0] for name in USUAL})
    ALL.need_their_intercepts(ran)


@requirement("SVM-15.12-002")
@executes(ALL.programs)
def test_error_code(ran: Seen) -> None:
    """EXITINFO1 holds the error code of the exceptions that have one."""
    names = [name for name in USUAL if name in ERROR_CODES]
    assert {name: ran.vmrun(name).info1 for name in names} == {name: ERROR_CODES[name] for name in names}


@requirement("SVM-15.12.1-001")
@executes(ALL.programs)
def test_de(ran: Seen) -> None:
    """#DE exits with 40h, at the division."""
    ALL.exit(ran, DE, "#DE")


@requirement("SVM-15.12.4-001")
@executes(ALL.programs)
def test_bp(ran: Seen) -> None:
    """INT3 exits with 43h."""
    ALL.come_to(ran, {"#BP": BP, without("#BP"): exits.SHUTDOWN})


@requirement("SVM-15.12.4-002")
@executes(ALL.programs)
def test_rip_of_bp(ran: Seen) -> None:
    """RIP is that of the INT3, and not of what follows."""
    ALL.exit(ran, BP, "#BP")


@requirement("SVM-15.12.5-001")
@executes(ALL.programs)
def test_of(ran: Seen) -> None:
    """INTO exits with 44h."""
    ALL.come_to(ran, {"#OF": OF, without("#OF"): exits.SHUTDOWN})


@requirement("SVM-15.12.5-002")
@executes(ALL.programs)
def test_rip_of_of(ran: Seen) -> None:
    """RIP is that of the INTO."""
    ALL.exit(ran, OF, "#OF")


@requirement("SVM-15.12.6-001")
@executes(ALL.programs)
def test_br(ran: Seen) -> None:
    """BOUND exits with 45h."""
    ALL.exit(ran, BR, "#BR")


@requirement("SVM-15.12.7-001")
@executes(ALL.programs)
def test_ud(ran: Seen) -> None:
    """#UD exits with 46h."""
    ALL.exit(ran, UD, "#UD")


@requirement("SVM-15.12.8-001")
@executes(ALL.programs)
def test_nm(ran: Seen) -> None:
    """#NM exits with 47h."""
    ALL.exit(ran, NM, "#NM")


@requirement("SVM-15.12.9-001")
@executes(ALL.programs)
def test_df(ran: Seen) -> None:
    """#DF exits with 48h."""
    exits_as(ran, DF, "#DF")


@requirement("SVM-15.12.11-001")
@executes(ALL.programs)
def test_ts(ran: Seen) -> None:
    """#TS exits with 4Ah and the selector of the TSS."""
    exits_as(ran, TS, "#TS")


@requirement("SVM-15.12.12-001")
@executes(ALL.programs)
def test_np(ran: Seen) -> None:
    """#NP exits with 4Bh and the selector of the segment that is not present."""
    exits_as(ran, NP, "#NP")


@requirement("SVM-15.12.13-001")
@executes(ALL.programs)
def test_ss(ran: Seen) -> None:
    """#SS exits with 4Ch and the selector of the stack segment."""
    exits_as(ran, SS, "#SS")


@requirement("SVM-15.12.14-001")
@executes(ALL.programs)
def test_gp(ran: Seen) -> None:
    """#GP exits with 4Dh, for a selector with it, for an address with 0."""
    exits_as(ran, GP, "#GP", "#GP of an address")


@requirement("SVM-15.12.15-001")
@executes(ALL.programs)
def test_pf(ran: Seen) -> None:
    """#PF exits with 4Eh and the error code that says what access it was."""
    exits_as(ran, PF, "#PF", "#PF of a write", "#PF of a user", "#PF of a fetch")


@requirement("SVM-15.12.15-004")
@executes(ALL.programs)
def test_pf_in_paged_real_mode(ran: Seen) -> None:
    """In paged real mode, too, where no exception has one by itself."""
    exits_as(ran, PF, "#PF in paged real mode")


@requirement("SVM-15.12.15-005")
@executes(ALL.programs)
def test_address_of_pf(ran: Seen) -> None:
    """EXITINFO2 holds the linear address that #PF is about."""
    ALL.come_to(ran, {"#PF": PF, "#PF of a write": PF})
    assert [ran.vmrun(name).info2 for name in ("#PF", "#PF of a write")] == [NOWHERE, NOWHERE + 0x123]


@requirement("SVM-15.12.15-002")
@executes(ALL.programs)
def test_cr2_of_pf(ran: Seen) -> None:
    """CR2 is as it was before a #PF that is intercepted."""
    ALL.come_to(ran, {"#PF": PF})
    seen = ran.vmrun("#PF")
    assert seen.before.cr2 == 0 and seen.after.cr2 == 0, f"CR2 is {seen.after.cr2:#x}"


@requirement("SVM-15.12.17-001")
@executes(ALL.programs)
def test_ac(ran: Seen) -> None:
    """#AC exits with 51h and error code 0."""
    exits_as(ran, AC, "#AC")


@requirement("SVM-15.12-005")
@executes(ALL.programs)
def test_no_special_register_is_written(ran: Seen) -> None:
    """Of the exceptions for which the manual says nothing else none has written CR2, DR6 or DR7."""
    names = ("#DE", "#UD", "#NM", "#NP", "#SS", "#GP")
    ALL.come_to(ran, {name: RAISED[name].intercepts[0] for name in names})
    changed = {name: set(ran.vmrun(name).changed()) & {"cr2", "dr6", "dr7"} for name in names}
    assert not any(changed.values()), changed
