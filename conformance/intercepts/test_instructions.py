"""Intercepts of instructions that have little in common (15.9)."""

from conformance.intercepts.tried import GP, HERE, NOWHERE, PF, UD, Changes, Tries, tried, without
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model.registers import Cr4, Rflags

RDTSC, RDPMC, PUSHF, POPF, CPUID, RSM, IRET, INTN, INVD, PAUSE, HLT, INVLPG = range(0x6E, 0x7A)
RDTSCP, ICEBP, WBINVD = 0x87, 0x88, 0x89

TSD: Changes = {"cr4": Cr4.PAE | Cr4.TSD, "cpl": 3}

# A guest has no IDT, so what goes there raises #GP.
ALONE = Tries(
    {
        "RDTSC": tried("rdtsc", RDTSC),
        "RDTSC at CPL 3 with TSD": tried("rdtsc", RDTSC, **TSD),
        "RDPMC": tried("rdpmc", RDPMC),
        "RDPMC at CPL 3": tried("rdpmc", RDPMC, cpl=3),
        "PUSHF": tried("pushfq", PUSHF),
        "PUSHF to nowhere": tried("pushfq", PUSHF, rsp=NOWHERE),
        "POPF": tried("popfq", POPF, before="push 2"),
        "POPF of nowhere": tried("popfq", POPF, rsp=NOWHERE),
        "CPUID": tried("cpuid", CPUID),
        "RSM": tried("rsm", RSM),
        "IRET": tried("iretq", IRET),
        "IRET with NT": tried("iretq", IRET, rflags=Rflags.NT | 2),
        "IRET to what nowhere says": tried("iretq", IRET, rsp=NOWHERE),
        "INTn": tried("int 0x80", INTN),
        "INT3": tried("int3", INTN),
        "INTO": tried("into", INTN, before="mov cl, 0x7F\nadd cl, cl", mode=Mode.PAGED),
        "INT1": tried("db 0xF1", INTN),
        "ICEBP": tried("db 0xF1", ICEBP),
        "INVD": tried("invd", INVD),
        "INVD at CPL 3": tried("invd", INVD, cpl=3),
        "PAUSE": tried("pause", PAUSE),
        "HLT": tried("hlt", HLT, endless=True),
        "HLT at CPL 3": tried("hlt", HLT, cpl=3),
        "INVLPG": tried(f"invlpg [{HERE:#x}]", INVLPG),
        "INVLPG at CPL 3": tried(f"invlpg [{HERE:#x}]", INVLPG, cpl=3),
        "WBINVD": tried("wbinvd", WBINVD),
        "WBINVD at CPL 3": tried("wbinvd", WBINVD, cpl=3),
    }
)


@requirement("SVM-15.9-024")
@executes(ALONE.programs)
def test_rdtsc(ran: Seen) -> None:
    """RDTSC exits with 6Eh."""
    ALONE.exit(ran, RDTSC, "RDTSC")


@requirement("SVM-15.9-094")
@executes(ALONE.programs)
def test_exceptions_of_rdtsc_come_first(ran: Seen) -> None:
    """RDTSC at CPL 3 with CR4.TSD=1 raises #GP though it is intercepted."""
    ALONE.come_to(ran, {"RDTSC at CPL 3 with TSD": GP, "RDTSC": RDTSC})


@requirement("SVM-15.9-025")
@executes(ALONE.programs)
def test_rdpmc(ran: Seen) -> None:
    """RDPMC exits with 6Fh."""
    ALONE.exit(ran, RDPMC, "RDPMC")


@requirement("SVM-15.9-095")
@executes(ALONE.programs)
def test_exceptions_of_rdpmc_come_first(ran: Seen) -> None:
    """RDPMC at CPL 3 with CR4.PCE=0 raises #GP though it is intercepted."""
    ALONE.come_to(ran, {"RDPMC at CPL 3": GP, "RDPMC": RDPMC})


@requirement("SVM-15.9-026")
@executes(ALONE.programs)
def test_pushf(ran: Seen) -> None:
    """PUSHF exits with 70h."""
    ALONE.exit(ran, PUSHF, "PUSHF")


@requirement("SVM-15.9-096")
@executes(ALONE.programs)
def test_pushf_exits_before_its_exceptions(ran: Seen) -> None:
    """PUSHF exits where it would raise #PF for its stack."""
    ALONE.come_to(ran, {"PUSHF to nowhere": PUSHF, without("PUSHF to nowhere"): PF})


@requirement("SVM-15.9-027")
@executes(ALONE.programs)
def test_popf(ran: Seen) -> None:
    """POPF exits with 71h."""
    ALONE.exit(ran, POPF, "POPF")


@requirement("SVM-15.9-097")
@executes(ALONE.programs)
def test_popf_exits_before_its_exceptions(ran: Seen) -> None:
    """POPF exits where it would raise #PF for its stack."""
    ALONE.come_to(ran, {"POPF of nowhere": POPF, without("POPF of nowhere"): PF})


@requirement("SVM-15.9-028")
@executes(ALONE.programs)
def test_cpuid(ran: Seen) -> None:
    """CPUID exits with 72h."""
    ALONE.exit(ran, CPUID, "CPUID")


@requirement("SVM-15.9-029")
@executes(ALONE.programs)
def test_rsm(ran: Seen) -> None:
    """RSM exits with 73h outside SMM, where it raises #UD without its intercept."""
    ALONE.exit(ran, RSM, "RSM")
    ALONE.come_to(ran, {without("RSM"): UD})


@requirement("SVM-15.9-030")
@executes(ALONE.programs)
def test_iret(ran: Seen) -> None:
    """IRET exits with 74h."""
    ALONE.exit(ran, IRET, "IRET")


@requirement("SVM-15.9-098")
@executes(ALONE.programs)
def test_iret_exits_before_its_exceptions(ran: Seen) -> None:
    """IRET exits where it would raise #GP for NT in long mode, or #PF for its stack."""
    task, stack = "IRET with NT", "IRET to what nowhere says"
    ALONE.come_to(ran, {task: IRET, without(task): GP, stack: IRET, without(stack): PF})


@requirement("SVM-15.9-031")
@executes(ALONE.programs)
def test_intn(ran: Seen) -> None:
    """INTn exits with 75h."""
    ALONE.exit(ran, INTN, "INTn")


@requirement("SVM-15.9-099")
@executes(ALONE.programs)
def test_intn_exits_before_its_exceptions(ran: Seen) -> None:
    """INTn exits where it would raise #GP because there is no IDT."""
    ALONE.come_to(ran, {"INTn": INTN, without("INTn"): GP})


@requirement("SVM-15.9-032")
@executes(ALONE.programs)
def test_other_software_interrupts_are_no_intn(ran: Seen) -> None:
    """INT3, INTO and INT1 do not look at the intercept of INTn: without an IDT they raise #GP."""
    ALONE.come_to(ran, {"INT3": GP, "INTO": GP, "INT1": GP})


@requirement("SVM-15.9-046")
@executes(ALONE.programs)
def test_icebp(ran: Seen) -> None:
    """ICEBP exits with 88h."""
    ALONE.exit(ran, ICEBP, "ICEBP")


@requirement("SVM-15.9-033")
@executes(ALONE.programs)
def test_invd(ran: Seen) -> None:
    """INVD exits with 76h."""
    ALONE.exit(ran, INVD, "INVD")


@requirement("SVM-15.9-100")
@executes(ALONE.programs)
def test_faults_of_invd_come_first(ran: Seen) -> None:
    """INVD at CPL 3 raises #GP though it is intercepted."""
    ALONE.come_to(ran, {"INVD at CPL 3": GP})


@requirement("SVM-15.9-034")
@executes(ALONE.programs)
def test_pause(ran: Seen) -> None:
    """PAUSE exits with 77h."""
    ALONE.exit(ran, PAUSE, "PAUSE")


@requirement("SVM-15.9-035")
@executes(ALONE.programs)
def test_hlt(ran: Seen) -> None:
    """HLT exits with 78h."""
    ALONE.exit(ran, HLT, "HLT")


@requirement("SVM-15.9-101")
@executes(ALONE.programs)
def test_exceptions_of_hlt_come_first(ran: Seen) -> None:
    """HLT at CPL 3 raises #GP though it is intercepted."""
    ALONE.come_to(ran, {"HLT at CPL 3": GP, "HLT": HLT})


@requirement("SVM-15.9-036")
@executes(ALONE.programs)
def test_invlpg(ran: Seen) -> None:
    """INVLPG exits with 79h."""
    ALONE.exit(ran, INVLPG, "INVLPG")


@requirement("SVM-15.9-102")
@executes(ALONE.programs)
def test_exceptions_of_invlpg_come_first(ran: Seen) -> None:
    """INVLPG at CPL 3 raises #GP though it is intercepted."""
    ALONE.come_to(ran, {"INVLPG at CPL 3": GP, "INVLPG": INVLPG})


@requirement("SVM-15.9-047")
@executes(ALONE.programs)
def test_wbinvd(ran: Seen) -> None:
    """WBINVD exits with 89h."""
    ALONE.exit(ran, WBINVD, "WBINVD")


@requirement("SVM-15.9-111")
@executes(ALONE.programs)
def test_faults_of_wbinvd_come_first(ran: Seen) -> None:
    """WBINVD at CPL 3 raises #GP though it is intercepted."""
    ALONE.come_to(ran, {"WBINVD at CPL 3": GP})


@requirement("SVM-15.9-061")
@executes(ALONE.programs)
def test_without_intercept(ran: Seen) -> None:
    """Without its intercept none of these instructions exits."""
    ALONE.need_their_intercepts(ran)
