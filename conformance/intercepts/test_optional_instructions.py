"""Intercepts of instructions that not every processor has (15.9); the catalogue says which bit of CPUID each needs."""

from conformance.intercepts.tried import GP, HERE, NOWHERE, PF, UD, Changes, Tries, tried, without
from harness.cases import NotRun, executes, requirement
from harness.lab.seen import Seen
from harness.lab.steps import cpuid, wrmsr
from harness.model.registers import Cr4

RDTSCP, WBNOINVD, MONITOR, MWAIT, MWAIT_ARMED, XSETBV, RDPRU = 0x87, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x8E
INVLPGB, INVPCID = 0xA0, 0xA2

ARM = f"mov eax, {HERE:#x}\nxor ecx, ecx\nxor edx, edx\nmonitor\nxor eax, eax"
ARM_X = ARM.replace("monitor", "monitorx")
XSAVE: Changes = {"cr4": Cr4.PAE | Cr4.OSXSAVE}
RDPRU_CODE, INVLPGB_CODE = "db 0x0F, 0x01, 0xFD", "db 0x0F, 0x01, 0xFE"

RARE = {  # bit of CPUID Fn8000_0008_EBX: the instruction that it stands for
    4: ("RDPRU", tried(RDPRU_CODE, RDPRU)),
    3: ("INVLPGB", tried(INVLPGB_CODE, INVLPGB)),
}
REPORTED = "reported"
WRITE_BACK = wrmsr(0x2FF, 0xC06)
"""MTRRdefType: memory is write-back, which MONITOR needs."""

SOME = Tries(
    {
        "RDTSCP": tried("rdtscp", RDTSCP),
        "RDTSCP at CPL 3 with TSD": tried("rdtscp", RDTSCP, cpl=3, cr4=Cr4.PAE | Cr4.TSD),
        "WBNOINVD": tried("wbnoinvd", WBNOINVD),
        "MONITOR": tried("monitor", MONITOR, rcx=0, rax=HERE),
        "MONITOR at CPL 3": tried("monitor", MONITOR, rax=HERE, cpl=3),
        "MONITOR with a hint": tried("monitor", MONITOR, rcx=1, rax=HERE),
        "MONITOR of nowhere": tried("monitor", MONITOR, rax=NOWHERE),
        "MONITORX": tried("monitorx", MONITOR, rax=HERE),
        "MWAIT": tried("mwait", MWAIT, endless=True),
        "MWAIT at CPL 3": tried("mwait", MWAIT, cpl=3, endless=True),
        "MWAIT with a hint": tried("mwait", MWAIT, rcx=1 << 31, endless=True),
        "MWAITX": tried("mwaitx", MWAIT, endless=True),
        "MWAIT, armed, both": tried("mwait", MWAIT_ARMED, MWAIT, before=ARM, endless=True),
        "MWAIT, not armed, both": tried("mwait", MWAIT_ARMED, MWAIT, endless=True),
        "XSETBV": tried("xsetbv", XSETBV, rax=1, **XSAVE),
        "XSETBV of XCR5": tried("xsetbv", XSETBV, rcx=5, **XSAVE),
        "INVPCID": tried(f"invpcid rcx, [{HERE:#x}]", INVPCID, rcx=2),
        "INVPCID at CPL 3": tried(f"invpcid rcx, [{HERE:#x}]", INVPCID, rcx=2, cpl=3),
        "INVPCID of nowhere": tried(f"invpcid rcx, [{NOWHERE:#x}]", INVPCID),
    }
    | dict(RARE.values()),
    WRITE_BACK,
    cpuid(0x8000_0008).model_copy(update={"name": REPORTED}),
)

# Alone, for where the intercept is not looked at they wait for ever.
WAITS = Tries({"MWAIT": tried("mwait", MWAIT_ARMED, before=ARM, endless=True)}, WRITE_BACK)
WAITS_X = Tries({"MWAITX": tried("mwaitx", MWAIT_ARMED, before=ARM_X, endless=True)}, WRITE_BACK)


@requirement("SVM-15.9-045")
@executes(SOME.programs)
def test_rdtscp(ran: Seen) -> None:
    """RDTSCP exits with 87h."""
    SOME.exit(ran, RDTSCP, "RDTSCP")


@requirement("SVM-15.9-110")
@executes(SOME.programs)
def test_exceptions_of_rdtscp_come_first(ran: Seen) -> None:
    """RDTSCP at CPL 3 with CR4.TSD=1 raises #GP though it is intercepted."""
    SOME.come_to(ran, {"RDTSCP at CPL 3 with TSD": GP})


@requirement("SVM-15.9-065")
@executes(SOME.programs)
def test_wbnoinvd(ran: Seen) -> None:
    """WBNOINVD exits with 89h, as WBINVD does."""
    SOME.exit(ran, WBNOINVD, "WBNOINVD")


@requirement("SVM-15.9-048")
@executes(SOME.programs)
def test_monitor(ran: Seen) -> None:
    """MONITOR exits with 8Ah."""
    SOME.exit(ran, MONITOR, "MONITOR")


@requirement("SVM-15.9-112")
@executes(SOME.programs)
def test_exceptions_of_monitor_come_first(ran: Seen) -> None:
    """MONITOR raises #UD at CPL 3, #GP for an extension in ECX and #PF for its address, though it is intercepted."""
    faults = {"MONITOR at CPL 3": UD, "MONITOR with a hint": GP, "MONITOR of nowhere": PF}
    SOME.come_to(ran, faults)


@requirement("SVM-15.9-066")
@executes(SOME.programs)
def test_monitorx(ran: Seen) -> None:
    """MONITORX exits with 8Ah, as MONITOR does."""
    SOME.exit(ran, MONITOR, "MONITORX")


@requirement("SVM-15.9-049")
@executes(SOME.programs)
def test_mwait(ran: Seen) -> None:
    """MWAIT exits with 8Bh."""
    SOME.exit(ran, MWAIT, "MWAIT")


@requirement("SVM-15.9-113")
@executes(SOME.programs)
def test_exceptions_of_mwait_come_first(ran: Seen) -> None:
    """MWAIT raises #UD at CPL 3 and #GP for an extension in ECX though it is intercepted."""
    SOME.come_to(ran, {"MWAIT at CPL 3": UD, "MWAIT with a hint": GP})


@requirement("SVM-15.9-067")
@executes(SOME.programs)
def test_mwaitx(ran: Seen) -> None:
    """MWAITX exits with 8Bh, as MWAIT does."""
    SOME.exit(ran, MWAIT, "MWAITX")


@requirement("SVM-15.9-050")
@executes(WAITS.programs)
def test_conditional_mwait(ran: Seen) -> None:
    """MWAIT with the monitor armed exits with 8Ch."""
    WAITS.exit(ran, MWAIT_ARMED, "MWAIT")


@requirement("SVM-15.9-068")
@executes(SOME.programs)
def test_conditional_mwait_is_looked_at_first(ran: Seen) -> None:
    """With both intercepts MWAIT exits with 8Ch when the monitor is armed, else with 8Bh."""
    SOME.come_to(ran, {"MWAIT, armed, both": MWAIT_ARMED, "MWAIT, not armed, both": MWAIT})


@requirement("SVM-15.9-069")
@executes(WAITS_X.programs)
def test_conditional_mwaitx(ran: Seen) -> None:
    """MWAITX with the monitor armed exits with 8Ch."""
    WAITS_X.exit(ran, MWAIT_ARMED, "MWAITX")


@requirement("SVM-15.9-051")
@executes(SOME.programs)
def test_xsetbv(ran: Seen) -> None:
    """XSETBV exits with 8Dh."""
    SOME.exit(ran, XSETBV, "XSETBV")


@requirement("SVM-15.9-114")
@executes(SOME.programs)
def test_xsetbv_exits_before_its_gp(ran: Seen) -> None:
    """XSETBV of an XCR that does not exist exits; #GP comes only when it is not intercepted."""
    SOME.come_to(ran, {"XSETBV of XCR5": XSETBV, without("XSETBV of XCR5"): GP})


@requirement("SVM-15.9-057")
@executes(SOME.programs)
def test_invpcid(ran: Seen) -> None:
    """INVPCID exits with A2h."""
    SOME.exit(ran, INVPCID, "INVPCID")


@requirement("SVM-15.9-120")
@executes(SOME.programs)
def test_order_of_invpcid(ran: Seen) -> None:
    """INVPCID at CPL 3 raises #GP though it is intercepted; #PF of its descriptor comes only when it is not."""
    nowhere = "INVPCID of nowhere"
    SOME.come_to(ran, {"INVPCID at CPL 3": GP, nowhere: INVPCID, without(nowhere): PF})


@requirement("SVM-15.9-064")
@executes(SOME.programs)
def test_absent_instruction_is_ud(ran: Seen) -> None:
    """An instruction that the processor does not have raises #UD, though the bit of its intercept is set."""
    reported = ran[REPORTED].registers["rbx"]
    absent = [name for bit, (name, _) in RARE.items() if not reported >> bit & 1]
    if not absent:
        raise NotRun("the processor has all of them")
    SOME.come_to(ran, dict.fromkeys(absent, UD))


@requirement("SVM-15.9-061")
@executes(SOME.programs)
def test_without_intercept(ran: Seen) -> None:
    """Without its intercept none of these instructions exits."""
    SOME.need_their_intercepts(ran)
