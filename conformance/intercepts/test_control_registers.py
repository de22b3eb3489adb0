"""Intercepts of reads and writes of control registers (15.9)."""

from conformance.intercepts.tried import GOES_ON, GP, HERE, NOWHERE, PF, Tries, Try, tried, without
from harness.cases import executes, requirement
from harness.lab.guest import Mode
from harness.lab.seen import Seen
from harness.model.exits import CR_READ, CR_WRITE
from harness.model.registers import Cr0, Cr4

OTHERS = (2, 4, 8)
"""The control registers of which the manual says the same things."""

PDPES = (HERE & ~0xFFF) + 0x2000
"""A table of four entries, each with reserved bits set."""

RESERVED_BITS = (0x1E7).to_bytes(8, "little")

ILLEGAL = {
    "PG without PE": f"mov rcx, cr0\nand cl, {~Cr0.PE & 0xFF:#x}",
    "NW without CD": f"mov rcx, cr0\nor ecx, {Cr0.NW:#x}",
    "bit 32": "mov rcx, cr0\nbts rcx, 32",
}
"""What no CR0 may hold, in RCX."""

READS = Tries(
    {
        "MOV from CR0": tried("mov rcx, cr0", CR_READ),
        "SMSW": tried("smsw ecx", CR_READ),
        "SMSW to memory": tried(f"smsw [{HERE:#x}]", CR_READ),
        "SMSW to nowhere": tried(f"smsw [{NOWHERE:#x}]", CR_READ),
        "MOV from CR0 at CPL 3": tried("mov rcx, cr0", CR_READ, cpl=3),
        "MOV from CR3": tried("mov rcx, cr3", CR_READ + 3),
        "MOV from CR3 at CPL 3": tried("mov rcx, cr3", CR_READ + 3, cpl=3),
        "both of CR3 intercepted": tried("nop", CR_READ + 3, CR_WRITE + 3),
        **{f"MOV from CR{n}": tried(f"mov rcx, cr{n}", CR_READ + n) for n in OTHERS},
        **{f"MOV from CR{n} at CPL 3": tried(f"mov rcx, cr{n}", CR_READ + n, cpl=3) for n in OTHERS},
    }
)


@requirement("SVM-15.9-001")
@executes(READS.programs)
def test_mov_from_cr0(ran: Seen) -> None:
    """MOV from CR0 exits with 00h."""
    READS.exit(ran, CR_READ, "MOV from CR0")


@requirement("SVM-15.9-070")
@executes(READS.programs)
def test_smsw(ran: Seen) -> None:
    """SMSW exits with 00h, to a register and to memory."""
    READS.exit(ran, CR_READ, "SMSW", "SMSW to memory")


@requirement("SVM-15.9-071")
@executes(READS.programs)
def test_faults_of_mov_from_cr0_come_first(ran: Seen) -> None:
    """MOV from CR0 at CPL 3 raises #GP though it is intercepted."""
    READS.come_to(ran, {"MOV from CR0 at CPL 3": GP})


@requirement("SVM-15.9-072")
@executes(READS.programs)
def test_cr0_read_comes_before_the_memory_of_smsw(ran: Seen) -> None:
    """SMSW to a page that is not present exits with 00h; #PF comes only when it is not intercepted."""
    READS.come_to(ran, {"SMSW to nowhere": CR_READ, without("SMSW to nowhere"): PF})


@requirement("SVM-15.9-003")
@executes(READS.programs)
def test_mov_from_cr3(ran: Seen) -> None:
    """MOV from CR3 exits with 03h."""
    READS.exit(ran, CR_READ + 3, "MOV from CR3")


@requirement("SVM-15.9-077")
@executes(READS.programs)
def test_faults_of_mov_from_cr3_come_first(ran: Seen) -> None:
    """MOV from CR3 at CPL 3 raises #GP though it is intercepted."""
    READS.come_to(ran, {"MOV from CR3 at CPL 3": GP})


@requirement("SVM-15.9-005")
@executes(READS.programs)
def test_vmrun_and_vmexit_are_no_accesses_of_cr3(ran: Seen) -> None:
    """VMRUN loads CR3 and #VMEXIT saves it without an exit of the CR3 intercepts."""
    READS.come_to(ran, {"both of CR3 intercepted": GOES_ON})


@requirement("SVM-15.9-006")
@executes(READS.programs)
def test_mov_from_cr2_cr4_cr8(ran: Seen) -> None:
    """MOV from CR2, CR4 and CR8 exits with the number of the register."""
    for n in OTHERS:
        READS.exit(ran, CR_READ + n, f"MOV from CR{n}")


@requirement("SVM-15.9-080")
@executes(READS.programs)
def test_exceptions_of_mov_from_cr2_cr4_cr8_come_first(ran: Seen) -> None:
    """MOV from CR2, CR4 and CR8 at CPL 3 raises #GP though it is intercepted."""
    READS.come_to(ran, {f"MOV from CR{n} at CPL 3": GP for n in OTHERS})


SAME_CR3, SAME_CR4 = "mov rcx, cr3", "mov rcx, cr4"
WRITES = Tries(
    {
        "MOV to CR0": tried("mov cr0, rcx", CR_WRITE, before="mov rcx, cr0"),
        "LMSW": tried("lmsw cx", CR_WRITE, before="smsw ecx"),
        "LMSW of nowhere": tried(f"lmsw [{NOWHERE:#x}]", CR_WRITE),
        "CLTS": tried("clts", CR_WRITE, cr0=Cr0.PE | Cr0.ET | Cr0.PG | Cr0.TS),
        "MOV to CR0 at CPL 3": tried("mov cr0, rcx", CR_WRITE, cpl=3),
        "MOV to CR3": tried("mov cr3, rcx", CR_WRITE + 3, before=SAME_CR3),
        "MOV to CR3 at CPL 3": tried("mov cr3, rcx", CR_WRITE + 3, cpl=3),
        "illegal PDPEs": tried(
            "mov cr3, ecx", CR_WRITE + 3, mode=Mode.PAE, rcx=PDPES, endless=True, having={PDPES: RESERVED_BITS * 4}
        ),
        "MOV to CR2": tried("mov cr2, rcx", CR_WRITE + 2),
        "MOV to CR4": tried("mov cr4, rcx", CR_WRITE + 4, before=SAME_CR4),
        "MOV to CR8": tried("mov cr8, rcx", CR_WRITE + 8),
        **{f"MOV to CR{n} at CPL 3": tried(f"mov cr{n}, rcx", CR_WRITE + n, cpl=3) for n in OTHERS},
    }
)  # fmt: skip


def refused(register: int, value: str) -> Try:
    """MOV to a control register of what this code leaves in RCX."""
    return tried(f"mov cr{register}, rcx", CR_WRITE + register, before=value, endless=True)


REFUSED = Tries(
    {
        **{f"{name} to CR0": refused(0, code) for name, code in ILLEGAL.items()},
        "bit 62 to CR3": refused(3, f"{SAME_CR3}\nbts rcx, 62"),
        "CR4 without PAE": refused(4, f"{SAME_CR4}\nand cl, {~Cr4.PAE & 0xFF:#x}"),
        "bit 32 to CR4": refused(4, f"{SAME_CR4}\nbts rcx, 32"),
        **{f"bit {n} to CR8": refused(8, f"bts rcx, {n}") for n in (4, 31, 63)},
    }
)
"""What no control register may hold. No engine need show what it does with it."""


@requirement("SVM-15.9-002")
@executes(WRITES.programs)
def test_mov_to_cr0(ran: Seen) -> None:
    """MOV to CR0 exits with 10h, be it the value that is there."""
    WRITES.exit(ran, CR_WRITE, "MOV to CR0")


@requirement("SVM-15.9-073")
@executes(WRITES.programs)
def test_lmsw(ran: Seen) -> None:
    """LMSW exits with 10h."""
    WRITES.exit(ran, CR_WRITE, "LMSW")


@requirement("SVM-15.9-074")
@executes(WRITES.programs)
def test_clts(ran: Seen) -> None:
    """CLTS exits with 10h, and TS is as it was."""
    WRITES.exit(ran, CR_WRITE, "CLTS")
    assert [ran.vmrun(name).after.cr0 & Cr0.TS for name in ("CLTS", without("CLTS"))] == [Cr0.TS, 0]


@requirement("SVM-15.9-075", "SVM-15.9-078", "SVM-15.9-081", "SVM-15.9-008")
@executes(WRITES.programs)
def test_cpl_comes_first(ran: Seen) -> None:
    """MOV to a control register at CPL 3 raises #GP though it is intercepted."""
    WRITES.come_to(ran, {f"MOV to CR{n} at CPL 3": GP for n in (0, 3, *OTHERS)})


@requirement("SVM-15.9-075")
@executes(REFUSED.programs)
def test_illegal_cr0_comes_first(ran: Seen) -> None:
    """MOV to CR0 raises #GP for an illegal value though it is intercepted."""
    REFUSED.come_to(ran, {f"{name} to CR0": GP for name in ILLEGAL})


@requirement("SVM-15.9-076")
@executes(WRITES.programs)
def test_cr0_write_comes_before_the_memory_of_lmsw(ran: Seen) -> None:
    """LMSW of a page that is not present exits with 10h; #PF comes only when it is not intercepted."""
    WRITES.come_to(ran, {"LMSW of nowhere": CR_WRITE, without("LMSW of nowhere"): PF})


@requirement("SVM-15.9-004")
@executes(WRITES.programs)
def test_mov_to_cr3(ran: Seen) -> None:
    """MOV to CR3 exits with 13h."""
    WRITES.exit(ran, CR_WRITE + 3, "MOV to CR3")


@requirement("SVM-15.9-078")
@executes(REFUSED.programs)
def test_illegal_cr3_comes_first(ran: Seen) -> None:
    """MOV to CR3 raises #GP for a reserved bit though it is intercepted."""
    REFUSED.come_to(ran, {"bit 62 to CR3": GP})


@requirement("SVM-15.9-079")
@executes(WRITES.programs)
def test_cr3_write_comes_before_the_pdpes(ran: Seen) -> None:
    """MOV to CR3 with illegal PDPEs exits with 13h, and not with #GP."""
    WRITES.exit(ran, CR_WRITE + 3, "illegal PDPEs")


@requirement("SVM-15.9-007")
@executes(WRITES.programs)
def test_mov_to_cr2_cr4_cr8(ran: Seen) -> None:
    """MOV to CR2, CR4 and CR8 exits with 10h plus the number of the register."""
    for n in OTHERS:
        WRITES.exit(ran, CR_WRITE + n, f"MOV to CR{n}")


@requirement("SVM-15.9-081")
@executes(REFUSED.programs)
def test_illegal_cr4_comes_first(ran: Seen) -> None:
    """MOV to CR4 raises #GP for an illegal value though it is intercepted."""
    REFUSED.come_to(ran, {"CR4 without PAE": GP, "bit 32 to CR4": GP})


@requirement("SVM-15.9-008")
@executes(REFUSED.programs)
def test_illegal_cr8_comes_first(ran: Seen) -> None:
    """MOV to CR8 raises #GP for bits above 3 though it is intercepted."""
    REFUSED.come_to(ran, {f"bit {n} to CR8": GP for n in (4, 31, 63)})


@requirement("SVM-15.9-061")
@executes(READS.programs)
def test_reads_without_intercept(ran: Seen) -> None:
    """Without their intercepts reads of control registers do not exit."""
    READS.need_their_intercepts(ran)


@requirement("SVM-15.9-061")
@executes(WRITES.programs)
def test_writes_without_intercept(ran: Seen) -> None:
    """Nor do writes."""
    WRITES.need_their_intercepts(ran)
