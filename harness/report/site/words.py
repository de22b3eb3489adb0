"""Names for the numbers in a VMCB: what its single bits and exit codes are called (appendices B and C)."""

from __future__ import annotations

_REGISTERS = [
    f"{kind}{n}_{how}" for kind, how in (("CR", "READ"), ("CR", "WRITE"), ("DR", "READ"), ("DR", "WRITE"))
    for n in range(16)
]  # fmt: skip
_EXCEPTIONS = "DE DB 2 BP OF BR UD NM DF 9 TS NP SS GP PF 15 MF AC MC XF 20 CP 22 23 24 25 26 27 HV VC SX 31"
_EVENTS = """
    INTR NMI SMI INIT VINTR CR0_SEL_WRITE IDTR_READ GDTR_READ LDTR_READ TR_READ IDTR_WRITE GDTR_WRITE LDTR_WRITE
    TR_WRITE RDTSC RDPMC PUSHF POPF CPUID RSM IRET SWINT INVD PAUSE HLT INVLPG INVLPGA IOIO MSR TASK_SWITCH FERR_FREEZE
    SHUTDOWN VMRUN VMMCALL VMLOAD VMSAVE STGI CLGI SKINIT RDTSCP ICEBP WBINVD MONITOR MWAIT MWAIT_CONDITIONAL XSETBV
    RDPRU EFER_WRITE_TRAP
"""
_LAST = "INVLPGB INVLPGB_ILLEGAL INVPCID MCOMMIT TLBSYNC BUSLOCK IDLE_HLT"

_BY_NUMBER = [
    *_REGISTERS,
    *(f"EXCP_{name}" for name in _EXCEPTIONS.split()),
    *_EVENTS.split(),
    *(f"CR{n}_WRITE_TRAP" for n in range(16)),
    *_LAST.split(),
]
_FROM_THE_END = ("INVALID", "BUSY", "IDLE_REQUIRED", "INVALID_PMC")

EXIT_CODES: dict[int, str] = {
    **dict(enumerate(_BY_NUMBER)),
    **{0x400: "NPF", 0x401: "AVIC_INCOMPLETE_IPI", 0x402: "AVIC_NOACCEL", 0x403: "VMGEXIT"},
    **{(1 << 64) - 1 - n: name for n, name in enumerate(_FROM_THE_END)},
}
"""Every exit code by number."""


def _intercepts(offset: int, size: int) -> dict[int, str]:
    """An intercept's bit stands as far from the VMCB's start as its exit code says."""
    return {bit: EXIT_CODES[8 * offset + bit] for bit in range(8 * size) if 8 * offset + bit in EXIT_CODES}


def _named(text: str) -> dict[int, str]:
    """``PE:0 PG:31`` as bits by number."""
    return {int(bit): name for name, bit in (item.split(":") for item in text.split())}


BITS: dict[str, dict[int, str]] = {
    "intercept_cr_read": _intercepts(0x0, 2),
    "intercept_cr_write": _intercepts(0x2, 2),
    "intercept_dr_read": _intercepts(0x4, 2),
    "intercept_dr_write": _intercepts(0x6, 2),
    "intercept_exceptions": _intercepts(0x8, 4),
    "intercept_misc1": _intercepts(0xC, 4),
    "intercept_misc2": _intercepts(0x10, 4),
    "intercept_misc3": _intercepts(0x14, 4),
    "vintr": _named("V_IRQ:8 VGIF:9 V_NMI:11 V_NMI_MASK:12 V_IGN_TPR:20 V_INTR_MASKING:24 VGIF_ENABLE:25"
                    " V_NMI_ENABLE:26 X2AVIC_ENABLE:30 AVIC_ENABLE:31"),
    "interrupt_state": _named("INTERRUPT_SHADOW:0 GUEST_INTERRUPT_MASK:1"),
    "exitintinfo": _named("EV:11 V:31"),
    "eventinj": _named("EV:11 V:31"),
    "nested_control": _named("NP_ENABLE:0 SEV:1 SEV_ES:2 GMET:3 SSS_CHECK:4 VTE:5 ROGPT:6 INVLPGB_ENABLE:7"),
    "virt_enables": _named("LBR:0 VMLOAD_VMSAVE:1 IBS:2 PMC:3"),
    "vmcb_clean": _named("I:0 IOPM:1 ASID:2 TPR:3 NP:4 CRx:5 DRx:6 DT:7 SEG:8 CR2:9 LBR:10 AVIC:11 CET:12"),
    "efer": _named("SCE:0 LME:8 LMA:10 NXE:11 SVME:12 LMSLE:13 FFXSR:14 TCE:15"),
    "cr0": _named("PE:0 MP:1 EM:2 TS:3 ET:4 NE:5 WP:16 AM:18 NW:29 CD:30 PG:31"),
    "cr4": _named("VME:0 PVI:1 TSD:2 DE:3 PSE:4 PAE:5 MCE:6 PGE:7 PCE:8 OSFXSR:9 OSXMMEXCPT:10 UMIP:11 LA57:12"
                  " FSGSBASE:16 PCIDE:17 OSXSAVE:18 SMEP:20 SMAP:21 PKE:22 CET:23"),
    "rflags": _named("CF:0 PF:2 AF:4 ZF:6 SF:7 TF:8 IF:9 DF:10 OF:11 NT:14 RF:16 VM:17 AC:18 VIF:19 VIP:20 ID:21"),
}  # fmt: skip
"""Names of single bits, by field and number."""
