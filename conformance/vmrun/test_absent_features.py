"""Bits of CR4 and EFER for features that the processor does not have: MBZ, so that VMRUN refuses them (15.5.1)."""

from conformance.vmrun.guests import INVALID, exit_codes, long_mode
from harness.cases import executes, requirement
from harness.lab.guest import Guest
from harness.lab.program import Program
from harness.lab.programs import vmruns
from harness.lab.seen import Seen
from harness.lab.steps import cpuid
from harness.model.registers import Cr0, Cr4, Efer

LEAVES = (0, 1, 7, 0x8000_0000, 0x8000_0001, 0x8000_0008, 0x8000_0021)

CR4_BITS = {
    Cr4.UMIP: (7, "rcx", 2),
    Cr4.LA57: (7, "rcx", 16),
    Cr4.FSGSBASE: (7, "rbx", 0),
    Cr4.PCIDE: (1, "rcx", 17),
    Cr4.OSXSAVE: (1, "rcx", 26),
    Cr4.SMEP: (7, "rbx", 7),
    Cr4.SMAP: (7, "rbx", 20),
    Cr4.PKE: (7, "rcx", 3),
    Cr4.CET: (7, "rcx", 7),
}
"""The bit of CPUID that reports each: leaf, register, bit (vol. 3, appendix E)."""

EFER_BITS = {
    Efer.NXE: (0x8000_0001, "rdx", 20),
    Efer.FFXSR: (0x8000_0001, "rdx", 25),
    Efer.TCE: (0x8000_0001, "rcx", 17),
    Efer.MCOMMIT: (0x8000_0008, "rbx", 8),
    Efer.INTWB: (0x8000_0008, "rbx", 13),
    Efer.UAIE: (0x8000_0021, "rax", 7),
    Efer.AIBRSE: (0x8000_0021, "rax", 8),
}
LMSLE_UNSUPPORTED = (0x8000_0008, "rbx", 20)


def asking(variants: dict[str, Guest]) -> dict[str, Program]:
    """One program: what CPUID reports, then each of these guests."""
    asked = (cpuid(leaf).model_copy(update={"name": hex(leaf)}) for leaf in LEAVES)
    return {"": vmruns(variants, first=asked)}


def reports(ran: Seen, leaf: int, register: str, bit: int) -> bool:
    """Whether CPUID reports a bit; leaves beyond the last, of which some processors return another, report nothing."""
    last = ran[hex(leaf & 0x8000_0000)].registers["rax"]
    return leaf <= last & 0xFFFF_FFFF and bool(ran[hex(leaf)].registers[register] >> bit & 1)


def refused_where_absent(ran: Seen, bits: dict[Cr4, tuple[int, str, int]] | dict[Efer, tuple[int, str, int]]) -> None:
    """VMRUN refuses exactly those bits of which CPUID does not report the feature."""
    seen = {name: code == INVALID for name, code in exit_codes(ran, (bit.name for bit in bits)).items()}
    assert seen == {bit.name: not reports(ran, *where) for bit, where in bits.items()}


CR4 = {bit.name: long_mode(cr4=Cr4.PAE | bit, cr0=Cr0.PG | Cr0.PE | Cr0.ET | Cr0.WP) for bit in CR4_BITS}


@requirement("SVM-15.5.1-C-036")
@executes(asking(CR4))
def test_cr4_bit_of_an_absent_feature_is_invalid(ran: Seen) -> None:
    """A CR4 bit makes VMRUN exit with VMEXIT_INVALID where CPUID does not report its feature, and else does not."""
    refused_where_absent(ran, CR4_BITS)


EFER = {bit.name: long_mode(efer=Efer.SVME | Efer.LME | Efer.LMA | bit) for bit in (*EFER_BITS, Efer.LMSLE)}


@requirement("SVM-15.5.1-C-037")
@executes(asking(EFER))
def test_efer_bit_of_an_absent_feature_is_invalid(ran: Seen) -> None:
    """An EFER bit makes VMRUN exit with VMEXIT_INVALID where CPUID does not report its feature, and else does not."""
    refused_where_absent(ran, EFER_BITS)
    if reports(ran, *LMSLE_UNSUPPORTED):
        assert exit_codes(ran, ["LMSLE"]) == {"LMSLE": INVALID}
