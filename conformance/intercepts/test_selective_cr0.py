"""The selective intercept of writes of CR0 (15.9)."""

from conformance.intercepts.tried import GOES_ON, GP, Tries, tried
from harness.cases import executes, requirement
from harness.lab.seen import Seen
from harness.model.exits import CR0_SEL_WRITE, CR_WRITE
from harness.model.registers import Cr0

PAGED = Cr0.PE | Cr0.ET | Cr0.PG
COUNTED = {name: Cr0[name] for name in ("EM", "NE", "WP", "AM", "CD")}
NOT_COUNTED = {name: Cr0[name] for name in ("TS", "MP")}


def changing(bit: int) -> str:
    """Code that makes RCX CR0 with this bit changed."""
    return f"mov rcx, cr0\nxor ecx, {bit:#x}"


SELECTIVE = Tries(
    {
        **{name: tried("mov cr0, rcx", CR0_SEL_WRITE, before=changing(bit)) for name, bit in COUNTED.items()},
        **{name: tried("mov cr0, rcx", CR0_SEL_WRITE, before=changing(bit)) for name, bit in NOT_COUNTED.items()},
        "nothing": tried("mov cr0, rcx", CR0_SEL_WRITE, before=changing(0)),
        "TS and WP": tried("mov cr0, rcx", CR0_SEL_WRITE, before=changing(Cr0.TS | Cr0.WP)),
        "NW without CD": tried("mov cr0, rcx", CR0_SEL_WRITE, before=changing(Cr0.NW)),
        "CPL 3": tried("mov cr0, rcx", CR0_SEL_WRITE, cpl=3),
        "CLTS": tried("clts", CR0_SEL_WRITE, cr0=PAGED | Cr0.TS),
        "LMSW of EM": tried("lmsw cx", CR0_SEL_WRITE, before="smsw ecx\nxor cl, 4"),
        "LMSW of TS": tried("lmsw cx", CR0_SEL_WRITE, before="smsw ecx\nxor cl, 8"),
        "LMSW of nothing": tried("lmsw cx", CR0_SEL_WRITE, before="smsw ecx"),
        "WP, both intercepts": tried("mov cr0, rcx", CR0_SEL_WRITE, CR_WRITE, before=changing(Cr0.WP)),
    }
)


@requirement("SVM-15.9-012")
@executes(SELECTIVE.programs)
def test_a_mov_that_changes_another_bit(ran: Seen) -> None:
    """A MOV to CR0 that changes any bit but TS and MP exits with 65h, and has changed nothing."""
    SELECTIVE.exit(ran, CR0_SEL_WRITE, *COUNTED, "TS and WP")
    assert {ran.vmrun(name).after.cr0 for name in COUNTED} == {PAGED}


@requirement("SVM-15.9-084")
@executes(SELECTIVE.programs)
def test_ts_and_mp_do_not_count(ran: Seen) -> None:
    """A MOV to CR0 that changes TS or MP alone, or nothing, does not exit, and changes it."""
    SELECTIVE.come_to(ran, dict.fromkeys((*NOT_COUNTED, "nothing"), GOES_ON))
    assert [ran.vmrun(name).after.cr0 ^ PAGED for name in NOT_COUNTED] == list(NOT_COUNTED.values())


@requirement("SVM-15.9-085")
@executes(SELECTIVE.programs)
def test_faults_come_first(ran: Seen) -> None:
    """MOV to CR0 raises #GP for CPL 3 and for an illegal value though the selective intercept is set."""
    SELECTIVE.come_to(ran, {"CPL 3": GP, "NW without CD": GP})


@requirement("SVM-15.9-013")
@executes(SELECTIVE.programs)
def test_clts_never_exits(ran: Seen) -> None:
    """CLTS does not exit with the selective intercept set, and clears TS."""
    SELECTIVE.come_to(ran, {"CLTS": GOES_ON})
    assert not ran.vmrun("CLTS").after.cr0 & Cr0.TS


@requirement("SVM-15.9-014")
@executes(SELECTIVE.programs)
def test_lmsw_exits_whatever_it_changes(ran: Seen) -> None:
    """LMSW exits with 65h, also when it changes TS alone, or nothing."""
    SELECTIVE.exit(ran, CR0_SEL_WRITE, "LMSW of EM", "LMSW of TS", "LMSW of nothing")


@requirement("SVM-15.9-015")
@executes(SELECTIVE.programs)
def test_the_ordinary_intercept_wins(ran: Seen) -> None:
    """With both intercepts set a MOV to CR0 exits with 10h."""
    SELECTIVE.exit(ran, CR_WRITE, "WP, both intercepts")
