"""Intercepts of reads and writes of debug registers (15.9)."""

from conformance.intercepts.tried import DB, GP, UD, Changes, Tries, tried, without
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model.exits import DR_READ, DR_WRITE
from harness.model.registers import Cr4, Rflags

NUMBERS = (0, 1, 2, 3, 6, 7)
ALL = tuple(range(DR_READ, DR_READ + 8)) + tuple(range(DR_WRITE, DR_WRITE + 8))

CATCH_DB: Changes = {"intercept_exceptions": 1 << DB - 0x40}
GD: Changes = {"dr7": 0x2400, **CATCH_DB}
DE: Changes = {"cr4": Cr4.PAE | Cr4.DE}
TF: Changes = {"rflags": Rflags.TF | 2, **CATCH_DB}
BS = 1 << 14
"""DR6: the #DB comes from RFLAGS.TF."""

DEBUG = Tries(
    {
        **{f"MOV from DR{n}": tried(f"mov rcx, dr{n}", DR_READ + n) for n in NUMBERS},
        **{f"MOV from DR{n} at CPL 3": tried(f"mov rcx, dr{n}", DR_READ + n, cpl=3) for n in NUMBERS},
        **{f"MOV from DR{n} with DE": tried(f"mov rcx, dr{n}", DR_READ + n, **DE) for n in (4, 5)},
        "MOV from DR6 with GD": tried("mov rcx, dr6", DR_READ + 6, **GD),
        **{f"MOV to DR{n}": tried(f"mov dr{n}, rcx", DR_WRITE + n) for n in NUMBERS},
        **{f"MOV to DR{n} at CPL 3": tried(f"mov dr{n}, rcx", DR_WRITE + n, cpl=3) for n in NUMBERS},
        **{f"MOV to DR{n} with DE": tried(f"mov dr{n}, rcx", DR_WRITE + n, **DE) for n in (4, 5)},
        **{f"bit 32 to DR{n}": tried(f"mov dr{n}, rcx", DR_WRITE + n, before="bts rcx, 32") for n in (6, 7)},
        "MOV to DR6 with GD": tried("mov dr6, rcx", DR_WRITE + 6, **GD),
        "#DB": tried("nop", *ALL, **TF),
    }
)


@requirement("SVM-15.9-009")
@executes(DEBUG.programs)
def test_mov_from(ran: Seen) -> None:
    """MOV from DRn exits with 20h plus the number of the register."""
    for n in NUMBERS:
        DEBUG.exit(ran, DR_READ + n, f"MOV from DR{n}")


@requirement("SVM-15.9-082")
@executes(DEBUG.programs)
def test_exceptions_of_mov_from_come_first(ran: Seen) -> None:
    """MOV from DRn raises #GP for CPL 3, #UD for DR4 and DR5 with CR4.DE=1, #DB with DR7.GD=1, though intercepted."""
    faults = {f"MOV from DR{n} at CPL 3": GP for n in NUMBERS} | {f"MOV from DR{n} with DE": UD for n in (4, 5)}
    DEBUG.come_to(ran, faults | {"MOV from DR6 with GD": DB, "MOV from DR6": DR_READ + 6})


@requirement("SVM-15.9-010")
@executes(DEBUG.programs)
def test_mov_to(ran: Seen) -> None:
    """MOV to DRn exits with 30h plus the number of the register."""
    for n in NUMBERS:
        DEBUG.exit(ran, DR_WRITE + n, f"MOV to DR{n}")


@requirement("SVM-15.9-083")
@executes(DEBUG.programs)
def test_exceptions_of_mov_to_come_first(ran: Seen) -> None:
    """The same for MOV to DRn, and #GP for bits 63:32 of DR6 and DR7."""
    faults = {f"MOV to DR{n} at CPL 3": GP for n in NUMBERS} | {f"MOV to DR{n} with DE": UD for n in (4, 5)}
    faults |= {f"bit 32 to DR{n}": GP for n in (6, 7)}
    DEBUG.come_to(ran, faults | {"MOV to DR6 with GD": DB, "MOV to DR6": DR_WRITE + 6})


@requirement("SVM-15.9-011")
@executes(DEBUG.programs)
def test_db_is_no_access(ran: Seen) -> None:
    """#DB writes DR6 with all accesses to debug registers intercepted, and only the exit of the #DB is seen."""
    DEBUG.come_to(ran, {"#DB": DB, without("#DB"): DB, "MOV to DR6": DR_WRITE + 6})
    assert ran.vmrun("#DB").after.dr6 & BS


@requirement("SVM-15.9-061")
@executes(DEBUG.programs)
def test_without_intercept(ran: Seen) -> None:
    """Without their intercepts accesses of debug registers do not exit."""
    DEBUG.need_their_intercepts(ran)
