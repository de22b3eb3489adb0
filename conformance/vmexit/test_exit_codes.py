"""The exit code is the number of the intercept's bit, counted from the start of the VMCB (appendix C)."""

from conformance.intercepts.tried import NOT_RUN, tried
from conformance.vmrun.guests import VMMCALL, each_ends
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.guest import Guest, Mode, guest
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.machine.vmcb import FIELDS

HERE, CODES = places.DATA, places.DATA + places.PAGE
MISC1 = {  # bit of intercept_misc1: what it is about
    5: "mov rax, cr0\nxor al, 0x20\nmov cr0, rax", 6: f"sidt [{HERE:#x}]", 7: f"sgdt [{HERE:#x}]", 8: "sldt ax",
    9: "str ax", 10: f"lidt [{HERE:#x}]", 11: f"lgdt [{HERE:#x}]", 12: "lldt cx", 13: "ltr cx", 14: "rdtsc",
    15: "rdpmc", 16: "pushfq", 17: "popfq", 18: "cpuid", 20: "iretq", 21: "int 0x80", 22: "invd", 23: "pause",
    24: "hlt", 25: f"invlpg [{HERE:#x}]", 26: "invlpga", 31: "ud2",
}  # fmt: skip
MISC2 = {2: "vmload", 3: "vmsave", 4: "stgi", 5: "clgi", 8: "db 0xF1", 9: "wbinvd"}
EXCEPTIONS = {0: "div cl", 3: "int3", 6: "ud2", 13: "bts rcx, 63\nmov al, [rcx]", 14: f"mov al, [{1 << 30:#x}]"}
CONTROL, DEBUG = (0, 2, 3, 4, 8), (0, 1, 2, 3, 6, 7)


def triggers(bit: int, code: str) -> Guest:
    """A guest that executes this, with the intercept of that number set, and besides what every guest needs."""
    return tried(code, bit, catch=()).guest(CODES + 0x40 * bit)


def bits(field: str, codes: dict[int, str]) -> dict[int, str]:
    """These numbers of bits in a field as numbers of bits in the VMCB."""
    return {8 * FIELDS[field].offset + bit: code for bit, code in codes.items()}


SWEEP = {
    "CR": bits("intercept_cr_read", {n: f"mov rcx, cr{n}" for n in CONTROL})
    | bits("intercept_cr_write", {n: f"mov rcx, cr{n}\nmov cr{n}, rcx" for n in CONTROL}),
    "DR": bits("intercept_dr_read", {n: f"mov rcx, dr{n}" for n in DEBUG})
    | bits("intercept_dr_write", {n: f"mov dr{n}, rcx" for n in DEBUG}),
    "exceptions": bits("intercept_exceptions", EXCEPTIONS),
    "instructions": bits("intercept_misc1", MISC1) | bits("intercept_misc2", MISC2),
}
VARIANTS = {
    kind: vmruns({f"{bit:#x}: {code}": triggers(bit, code) for bit, code in codes.items()})
    for kind, codes in SWEEP.items()
}


@requirement("SVM-C-001")
@executes(VARIANTS)
def test_code_is_the_number_of_the_bit(ran: Seen) -> None:
    """What is intercepted by a bit of the intercept vectors exits with the bit's number as its code."""
    names = [it.name for it in ran.vmruns()]
    each_ends(ran, {name: int(name.partition(":")[0], 16) for name in names})


@requirement("SVM-C-003")
@executes(VARIANTS)
def test_code_of_host_software_is_never_written(ran: Seen) -> None:
    """No exit leaves F000_0000h, not even where it was before."""
    assert [it.name for it in ran.vmruns() if it.exit == NOT_RUN] == []


ALL_ONES = (1 << 64) - 1
PATTERNS = {
    "code 0": guest(Mode.LONG, "mov rcx, cr0", intercept_cr_read=1, exitcode=ALL_ONES),
    "code 81h": guest(Mode.LONG, exitcode=ALL_ONES),
}


@requirement("SVM-C-002")
@executes({"": vmruns(PATTERNS)})
def test_all_64_bits_of_the_code_are_written(ran: Seen) -> None:
    """#VMEXIT writes 070h to 077h, whatever was there."""
    assert [ran.vmrun(name).exit for name in PATTERNS] == [0, VMMCALL]
