"""The consistency checks of VMRUN (15.5.1): what makes it exit with VMEXIT_INVALID, and what does not."""

from conformance.vmrun.guests import FLAG, INVALID, VMMCALL, all_end, exit_codes, limit, long_mode, real_mode, runs
from harness.cases import executes, requirement
from harness.lab import places
from harness.lab.seen import Seen
from harness.model.registers import Cr0, Efer, Misc2

CS_L_AND_D = 0x69B
HIGH_HALF = {f"bit {bit}": 1 << bit for bit in range(32, 64, 3)}  # each byte of it, and the ends of the word
ADDRESSES = {f"bit {bit}": 1 << bit for bit in range(32, 64)}

LEGAL = {"real mode": real_mode(), "64-bit mode": long_mode()}


@requirement("SVM-15.5.1-001")
@executes(runs(LEGAL))
def test_legal_guests_run(ran: Seen) -> None:
    """The guests that every other case here starts from are legal: they run up to their VMMCALL."""
    all_end(ran, LEGAL, VMMCALL)
    assert [FLAG in ran[name].changes for name in LEGAL] == [False, True]


SVME = {"real mode": real_mode(efer=0), "64-bit mode": long_mode(efer=Efer.LME | Efer.LMA)}


@requirement("SVM-15.5.1-C-001")
@executes(runs(SVME))
def test_efer_svme_clear_is_invalid(ran: Seen) -> None:
    """EFER.SVME=0 in the VMCB makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, SVME, INVALID)


NW = {"NW": real_mode(cr0=Cr0.ET | Cr0.NW)}


@requirement("SVM-15.5.1-C-002")
@executes(runs(NW))
def test_nw_without_cd_is_invalid(ran: Seen) -> None:
    """CR0.CD=0 with CR0.NW=1 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NW, INVALID)


CACHES = {"CD": real_mode(cr0=Cr0.ET | Cr0.CD), "CD and NW": real_mode(cr0=Cr0.ET | Cr0.CD | Cr0.NW)}


@requirement("SVM-15.5.1-C-003")
@executes(runs(CACHES))
def test_cd_is_legal_with_and_without_nw(ran: Seen) -> None:
    """CR0.CD=1 is legal with NW=0 and with NW=1."""
    all_end(ran, CACHES, VMMCALL)


CR0_HIGH = {name: real_mode(cr0=Cr0.ET | bit) for name, bit in HIGH_HALF.items()}


@requirement("SVM-15.5.1-C-004")
@executes(runs(CR0_HIGH))
def test_high_half_of_cr0_is_invalid(ran: Seen) -> None:
    """Any of CR0[63:32] set makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, CR0_HIGH, INVALID)


CR3_HIGH = {name: long_mode(cr3=bit) for name, bit in ADDRESSES.items()}


@requirement("SVM-15.5.1-C-005")
@executes(runs(CR3_HIGH))
def test_cr3_beyond_physical_memory_is_invalid(ran: Seen) -> None:
    """In long mode any bit of CR3 from the physical address width up to 63 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, (name for name, bit in ADDRESSES.items() if bit >= limit(ran)), INVALID)


CR4_HIGH = {name: real_mode(cr4=bit) for name, bit in HIGH_HALF.items()}


@requirement("SVM-15.5.1-C-007")
@executes(runs(CR4_HIGH))
def test_high_half_of_cr4_is_invalid(ran: Seen) -> None:
    """Any of CR4[63:32] set makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, CR4_HIGH, INVALID)


DR6_HIGH = {name: real_mode(dr6=0xFFFF_0FF0 | bit) for name, bit in HIGH_HALF.items()}


@requirement("SVM-15.5.1-C-008")
@executes(runs(DR6_HIGH))
def test_high_half_of_dr6_is_invalid(ran: Seen) -> None:
    """Any of DR6[63:32] set makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, DR6_HIGH, INVALID)


DR7_HIGH = {name: real_mode(dr7=0x400 | bit) for name, bit in HIGH_HALF.items()}


@requirement("SVM-15.5.1-C-009")
@executes(runs(DR7_HIGH))
def test_high_half_of_dr7_is_invalid(ran: Seen) -> None:
    """Any of DR7[63:32] set makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, DR7_HIGH, INVALID)


EFER_RESERVED = {name: real_mode(efer=Efer.SVME | bit) for name, bit in HIGH_HALF.items()}


@requirement("SVM-15.5.1-C-010")
@executes(runs(EFER_RESERVED))
def test_high_half_of_efer_is_invalid(ran: Seen) -> None:
    """Any of EFER[63:32], which are MBZ, makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, EFER_RESERVED, INVALID)


NO_PAE = {"PAE clear": long_mode(cr4=0)}


@requirement("SVM-15.5.1-C-012")
@executes(runs(NO_PAE))
def test_long_mode_without_pae_is_invalid(ran: Seen) -> None:
    """EFER.LME and CR0.PG set with CR4.PAE clear make VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NO_PAE, INVALID)


NO_PE = {"PE clear": long_mode(cr0=Cr0.PG | Cr0.ET)}


@requirement("SVM-15.5.1-C-013")
@executes(runs(NO_PE))
def test_long_mode_without_protection_is_invalid(ran: Seen) -> None:
    """EFER.LME and CR0.PG set with CR0.PE clear make VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NO_PE, INVALID)


L_AND_D = {"L and D": long_mode(cs__attrib=CS_L_AND_D)}


@requirement("SVM-15.5.1-C-014")
@executes(runs(L_AND_D))
def test_l_with_d_in_long_mode_is_invalid(ran: Seen) -> None:
    """EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D all set make VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, L_AND_D, INVALID)


LMA = {"LME without LMA": long_mode(efer=Efer.SVME | Efer.LME)}


@requirement("SVM-15.5.1-C-016")
@executes(runs(LMA))
def test_efer_lma_is_ignored(ran: Seen) -> None:
    """With LME=1, PG=1 and LMA=0 in the VMCB the guest runs in 64-bit mode all the same."""
    all_end(ran, LMA, VMMCALL)
    assert FLAG in ran["LME without LMA"].changes, "the guest's 64-bit instruction did not run"


NO_INTERCEPT = {"VMRUN intercept clear": real_mode(intercept_misc2=Misc2.VMMCALL)}


@requirement("SVM-15.5.1-C-017")
@executes(runs(NO_INTERCEPT))
def test_vmrun_intercept_clear_is_invalid(ran: Seen) -> None:
    """A clear VMRUN intercept makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NO_INTERCEPT, INVALID)


NO_ASID = {"ASID 0": real_mode(guest_asid=0)}


@requirement("SVM-15.5.1-C-022")
@executes(runs(NO_ASID))
def test_asid_0_is_invalid(ran: Seen) -> None:
    """ASID 0 makes VMRUN exit with VMEXIT_INVALID."""
    all_end(ran, NO_ASID, INVALID)


WIDTHS = range(36, 53)
MSRPM = {f"end at 2^{width}": real_mode(msrpm_base_pa=(1 << width) - 0x2000) for width in WIDTHS}
MSRPM |= {f"end beyond 2^{width}": real_mode(msrpm_base_pa=(1 << width) - 0x1000) for width in WIDTHS}


@requirement("SVM-15.5.1-C-019")
@executes(runs(MSRPM))
def test_msrpm_must_end_in_physical_memory(ran: Seen) -> None:
    """An MSRPM whose last byte lies beyond physical memory is VMEXIT_INVALID; one that just fits is legal."""
    width = limit(ran).bit_length() - 1
    seen = exit_codes(ran, MSRPM)
    assert (seen[f"end at 2^{width}"], seen[f"end beyond 2^{width}"]) == (VMMCALL, INVALID)


IOPM = {f"end at 2^{width}": real_mode(iopm_base_pa=(1 << width) - 0x3000) for width in WIDTHS}
IOPM |= {f"end beyond 2^{width}": real_mode(iopm_base_pa=(1 << width) - 0x2000) for width in WIDTHS}


@requirement("SVM-15.5.1-C-020")
@executes(runs(IOPM))
def test_iopm_must_end_in_physical_memory(ran: Seen) -> None:
    """An IOPM whose last byte lies beyond physical memory is VMEXIT_INVALID; one that just fits is legal."""
    width = limit(ran).bit_length() - 1
    seen = exit_codes(ran, IOPM)
    assert (seen[f"end at 2^{width}"], seen[f"end beyond 2^{width}"]) == (VMMCALL, INVALID)


LOW_BITS = {"IOPM": real_mode(iopm_base_pa=0xFFF), "MSRPM": real_mode(msrpm_base_pa=0xFFF)}


@requirement("SVM-15.5.1-C-021")
@executes(runs(LOW_BITS))
def test_low_bits_of_the_maps_are_ignored(ran: Seen) -> None:
    """Bits 11:0 of IOPM_BASE_PA and MSRPM_BASE_PA are ignored."""
    all_end(ran, LOW_BITS, VMMCALL)


LOW_CR3 = {f"bit {bit}": long_mode(cr3=places.LONG_TABLES | 1 << bit) for bit in (0, 1, 2, 5, 6, 7, 8, 9, 10, 11)}


@requirement("SVM-15.5.1-C-006")
@executes(runs(LOW_CR3))
def test_reserved_low_bits_of_cr3_are_ignored(ran: Seen) -> None:
    """CR3 bits that are merely reserved, the low ones but PCD and PWT, do not make VMRUN fail."""
    all_end(ran, LOW_CR3, VMMCALL)


COMPATIBLE = {"LME clear": real_mode(cs__attrib=CS_L_AND_D, cr0=Cr0.ET | Cr0.PE, cs__limit=0xFFFF_FFFF)}


@requirement("SVM-15.5.1-C-015")
@executes(runs(COMPATIBLE))
def test_l_with_d_outside_long_mode_is_no_error(ran: Seen) -> None:
    """CS.L and CS.D both set are no error while EFER.LME is clear."""
    all_end(ran, COMPATIBLE, VMMCALL)


@requirement("SVM-15.5.1-C-031")
@executes(runs(NO_INTERCEPT))
def test_invalid_exit_code_is_64_bits_wide(ran: Seen) -> None:
    """On VMEXIT_INVALID the EXITCODE field holds -1 as a 64-bit value."""
    assert hex(ran.vmrun().after.exitcode) == hex((1 << 64) - 1)


@requirement("SVM-15.5.1-C-033")
@executes(runs({"VMRUN intercept clear": long_mode(intercept_misc2=Misc2.VMMCALL)}))
def test_a_refused_guest_executes_nothing(ran: Seen) -> None:
    """A VMRUN that exits with VMEXIT_INVALID has executed no instruction of the guest."""
    assert ran.vmrun().refused
    assert FLAG not in ran.vmrun().step.changes, "the guest's first instruction has run"
