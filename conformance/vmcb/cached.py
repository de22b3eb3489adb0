"""Fields of the VMCB that a processor may cache, by the clean bit that covers them, each with what shows its value.

Where a guest that looks at a register tells less about VMRUN than about the emulation of what looks, #VMEXIT tells: it
stores the value that was in force.
"""

from __future__ import annotations

from conformance.event_injection.guests import NOTHING, OWN_CODE, Tables
from conformance.vmcb.rewritten import Change, exit_code, register
from harness.lab import places
from harness.lab.assemble import assemble
from harness.lab.guest import WRITE_BACK, Guest, Mode, guest
from harness.lab.paging import PageTables
from harness.lab.program import SCRATCH_END
from harness.lab.seen import VmrunSeen
from harness.model.registers import Cr0, Cr4, Efer, Misc1, Misc2, Rflags, Vintr
from harness.msr import Msr

_MISC1, _MISC2 = int(Misc1.SHUTDOWN), Misc2.VMRUN | Misc2.VMMCALL
FLUSH = {"tlb_control": 1}
"""Where another translation is to be seen: whether it is cached by the TLB is no matter of clean bits."""

# Two pages with a number each, and a linear address that leads to the one, to the other, or to the one at first.
ONE, OTHER, ADDRESS = places.DATA + 0x40_0000, places.DATA + 0x40_1000, 1 << 30
NUMBERS = {ONE: (0x1111).to_bytes(8, "little"), OTHER: (0x2222).to_bytes(8, "little")}
_TO_ONE, _TO_OTHER, _REMAPPED = (
    PageTables(places.OWN_TABLES + n * 0x1_0000).identity(SCRATCH_END).map(ADDRESS, page)
    for n, page in enumerate((ONE, OTHER, ONE))
)
_READS = f"mov ebx, [{ADDRESS:#x}]\nvmmcall"
_CODES = places.DATA + 0x10 * places.PAGE
_BUFFER = places.DATA + 0x41_0000
_IOPM, _MSRPM = places.DATA + 0x80_0000, places.DATA + 0x90_0000
_FULL = 0x8000
_MAPS = {at: bytes(0x3000) for at in (_IOPM, _MSRPM)} | {at + _FULL: b"\xff" * 0x3000 for at in (_IOPM, _MSRPM)}


_places: dict[tuple[Mode, str], int] = {}


def own(mode: Mode, code: str, **changes: int) -> Guest:
    """A guest whose code has a page of its own, so that all of them fit into one program."""
    place = _CODES + places.PAGE * _places.setdefault((mode, code), len(_places))
    it = guest(mode, **{"rip": place, **changes})
    return it.having({place: assemble(code, mode.bits, org=place)})


def tells_register(code: str, fields: dict[str, int], first: int, then: int, **started: int) -> Change:
    """A guest in 64-bit mode that leaves a number in RBX."""
    return Change(own(Mode.LONG, f"{code}\nvmmcall", **started), fields, register("rbx"), first, then)


def tells_exit(code: str, fields: dict[str, int], first: str, then: str, **started: int) -> Change:
    """A guest in 64-bit mode that exits by one code or another."""
    return Change(own(Mode.LONG, f"{code}\nvmmcall", **started), fields, exit_code, first, then)


def tells_saved(field: str, first: int, then: int) -> Change:
    """A guest that does not look, so #VMEXIT tells."""
    name = field.replace("__", ".")
    it = own(Mode.LONG, "vmmcall", **{field: first})
    return Change(
        it, {field: then}, lambda seen: (exit_code(seen), seen.after[name]), ("VMMCALL", first), ("VMMCALL", then)
    )


def looking(tables: PageTables) -> Guest:
    """A guest that reads the number at the address, by these tables."""
    return own(Mode.LONG, _READS, cr3=tables.root).having(_memory())


def _memory() -> dict[int, bytes]:
    return NUMBERS | _TO_ONE.regions | _TO_OTHER.regions | _REMAPPED.regions


def remapped(fields: dict[str, int]) -> Change:
    """The host changes the page-table entry, and no register of the guest changes: only a new translation shows it."""
    entry = _REMAPPED.address_of_entry(ADDRESS)
    host = f"mov rax, {OTHER | 7:#x}\nmov [{entry:#x}], rax"
    return Change(looking(_REMAPPED), fields, register("rbx"), 0x1111, 0x2222, host)


def _tsc_offset(seen: VmrunSeen) -> int | str:
    told = register("r10")(seen)
    return told if isinstance(told, str) else told >> 52


INTERCEPTS = {
    "CR reads": tells_exit("mov rcx, cr0", {"intercept_cr_read": 1}, "VMMCALL", "CR0_READ"),
    "CR writes": tells_exit("mov rcx, cr0\nmov cr0, rcx", {"intercept_cr_write": 1}, "VMMCALL", "CR0_WRITE"),
    "exceptions": tells_exit("ud2", {"intercept_exceptions": 0}, "EXCP_UD", "SHUTDOWN", intercept_exceptions=1 << 6),
    "CPUID": tells_exit("cpuid", {"intercept_misc1": _MISC1 | 1 << 18}, "VMMCALL", "CPUID"),
    "CPUID, no more": tells_exit(
        "cpuid", {"intercept_misc1": _MISC1}, "CPUID", "VMMCALL", intercept_misc1=_MISC1 | 1 << 18
    ),
    "WBINVD": tells_exit("wbinvd", {"intercept_misc2": _MISC2 | 1 << 9}, "VMMCALL", "WBINVD"),
}
DEBUG_INTERCEPTS = {
    "DR reads": tells_exit("mov rcx, dr0", {"intercept_dr_read": 1}, "VMMCALL", "DR0_READ"),
    "DR writes": tells_exit("mov dr0, rcx", {"intercept_dr_write": 1}, "VMMCALL", "DR0_WRITE"),
}
TSC = {
    "TSC_OFFSET": Change(
        own(Mode.LONG, "rdtsc\nshl rdx, 32\nlea r10, [rax + rdx]\nvmmcall"),
        {"tsc_offset": 1 << 52}, _tsc_offset, 0, 1,
    ),
}  # fmt: skip


def mapped(code: str, field: str, place: int, protection: int, exits_by: str) -> Change:
    """A guest with a map that is empty, in whose place comes one that is full."""
    it = own(Mode.LONG, f"{code}\nvmmcall", intercept_misc1=_MISC1 | protection, **{field: place})
    return Change(it.having(_MAPS), {field: place + _FULL}, exit_code, "VMMCALL", exits_by)


MAPS = {
    "IOPM_BASE_PA": mapped("in al, 0x80", "iopm_base_pa", _IOPM, Misc1.IOIO_PROT, "IOIO"),
    "MSRPM_BASE_PA": mapped(f"mov ecx, {Msr.EFER:#x}\nrdmsr", "msrpm_base_pa", _MSRPM, Misc1.MSR_PROT, "MSR"),
}

ASID = {"ASID 2": remapped({"guest_asid": 2})}
ASID_0 = {"ASID 0": tells_exit("nop", {"guest_asid": 0}, "VMMCALL", "INVALID")}

_VECTOR, _OTHER_VECTOR = 0x80, 17


_STI = f"sti\nnop\nnop\n{OWN_CODE}"


def interrupted(first: int, then: int) -> Change:
    """A guest that sets RFLAGS.IF, for which a virtual interrupt is held back at first, and then exits."""
    it = own(Mode.LONG, _STI, vintr=first, intercept_misc1=_MISC1 | Misc1.VINTR)
    return Change(it, {"vintr": then}, exit_code, "VMMCALL", "VINTR")


def _pending(priority: int = 15, vector: int = _VECTOR, more: int = 0) -> int:
    return Vintr.V_IRQ | priority << 16 | vector << 32 | more


_TPR = Vintr.V_INTR_MASKING | 8
INTERRUPTS = {
    "V_TPR": interrupted(_pending(6, more=_TPR), _pending(6, more=_TPR & ~8)),
    "V_IRQ": interrupted(_pending() & ~Vintr.V_IRQ, _pending()),
    "V_INTR_PRIO": interrupted(_pending(5, more=_TPR), _pending(9, more=_TPR)),
    "V_IGN_TPR": interrupted(_pending(5, more=_TPR), _pending(5, more=_TPR | Vintr.V_IGN_TPR)),
}
VECTOR = {
    "V_INTR_VECTOR": Change(
        Tables().guest(0, _STI, vintr=_pending()), {"vintr": _pending(vector=_OTHER_VECTOR)},
        register("rbx"), _VECTOR, _OTHER_VECTOR,
    ),
}  # fmt: skip
MASKING = {
    "V_INTR_MASKING": tells_register("mov rbx, cr8", {"vintr": 5}, 5, 0, vintr=5 | Vintr.V_INTR_MASKING),
}

_PAT = WRITE_BACK | 6 << 24
NESTED_PAGING = {
    "N_CR3": Change(
        own(Mode.PROTECTED, _READS, nested=True, n_cr3=_TO_ONE.root).having(_memory()),
        {"n_cr3": _TO_OTHER.root, **FLUSH},
        register("rbx"),
        0x1111,
        0x2222,
    ),
}
PAT = {
    "G_PAT": Change(
        own(Mode.LONG, "mov ecx, 0x277\nrdmsr\nmov ebx, eax\nvmmcall", nested=True),
        {"g_pat": _PAT}, register("rbx"), WRITE_BACK & 0xFFFF_FFFF, _PAT & 0xFFFF_FFFF,
    ),
}  # fmt: skip

_CR0, _EFER = Cr0.PG | Cr0.PE | Cr0.ET, Efer.SVME | Efer.LME | Efer.LMA
_READS_EFER = f"mov ecx, {Msr.EFER:#x}\nrdmsr\nmov ebx, eax"
CONTROL = {
    "CR0": tells_register("mov rbx, cr0", {"cr0": _CR0 | Cr0.MP | Cr0.NE}, _CR0, _CR0 | Cr0.MP | Cr0.NE),
    "CR3": Change(looking(_TO_ONE), {"cr3": _TO_OTHER.root, **FLUSH}, register("rbx"), 0x1111, 0x2222),
    "CR4": tells_register(f"mov rbx, cr4\nand ebx, {Cr4.DE}", {"cr4": Cr4.PAE | Cr4.DE}, 0, Cr4.DE),
    "EFER": tells_register(_READS_EFER, {"efer": _EFER | Efer.SCE}, _EFER, _EFER | Efer.SCE),
}

DEBUG = {
    "DR6": tells_saved("dr6", 0xFFFF_0FF0, 0xFFFF_4FF1),
    "DR7": tells_saved("dr7", 0x400, 0x455),
}


def _stored(what: str, part: str, value: int) -> Change:
    reads = f"mov rbx, [{_BUFFER + 2:#x}]" if part == "base" else f"movzx ebx, word [{_BUFFER:#x}]"
    field = f"{what}r__{part}"
    return tells_register(f"s{what} [{_BUFFER:#x}]\n{reads}", {field: value}, 0, value)


TABLES = {
    f"{what.upper()}R {part}": _stored(what, part, value)
    for what in ("gdt", "idt")
    for part, value in (("base", 0x7654_3210_FED0), ("limit", 0x456))
}


def _selector(name: str) -> Change:
    before = guest(Mode.LONG).vmcb[f"{name}.selector"]
    return tells_register(f"mov ebx, {name}", {f"{name}__selector": before + 0x20}, before, before + 0x20)


def _in_32_bits(code: str, **changes: int) -> Guest:
    return own(Mode.PROTECTED, f"{code}\nvmmcall", intercept_exceptions=1 << 13, **changes).having(NUMBERS)


def _base(name: str) -> Change:
    it = _in_32_bits(f"mov ebx, [{name}:{ONE:#x}]")
    return Change(it, {f"{name}__base": OTHER - ONE}, register("rbx"), 0x1111, 0x2222)


def _base_of_cs() -> Change:
    """CS and RIP change together, so that the guest goes on in its own code by the new base alone."""
    it = _in_32_bits("mov ebx, 7")
    moved = {"cs__base": 0x1000, "rip": it.vmcb.rip - 0x1000}
    seven = register("rbx")
    return Change(it, moved, lambda seen: (seven(seen), seen.after["cs.base"]), (7, 0), (7, 0x1000))


_USER = {"cpl": 3, "cs__attrib": 0x29B | 3 << 5, "ss__attrib": 0xC93 | 3 << 5}
SEGMENTS = {
    **{f"{name.upper()} selector": _selector(name) for name in ("cs", "ds", "ss", "es")},
    **{f"{name.upper()} base": _base(name) for name in ("ds", "ss", "es")},
    "CS base": _base_of_cs(),
    "DS limit": tells_saved("ds__limit", 0xFFFF_FFFF, 0xFFFF),
    "DS attributes": tells_saved("ds__attrib", 0xC93, 0xC91),
    "CPL": tells_exit("mov rbx, cr0", _USER, "VMMCALL", "EXCP_GP", intercept_exceptions=1 << 13),
}

_LINEAR = 0xFFFF_8765_4321_0123
CR2 = {"CR2": tells_register("mov rbx, cr2", {"cr2": _LINEAR}, 0, _LINEAR)}

BY_BIT = {
    0: INTERCEPTS, 1: MAPS, 2: ASID, 3: INTERRUPTS, 4: NESTED_PAGING, 5: CONTROL, 6: DEBUG, 7: TABLES, 8: SEGMENTS,
    9: CR2,
}  # fmt: skip
"""What each clean bit covers (15.15.3). PAUSE_FILTER_COUNT is apart: no engine has both it and clean bits."""

EVERYTHING = {name: it for bit, group in BY_BIT.items() if bit != 4 for name, it in group.items()}
"""But for what needs nested paging."""

PLAIN = {name: it for name, it in EVERYTHING.items() if name not in ("V_TPR", "V_INTR_PRIO", "V_IGN_TPR", "CR2")}
"""But for what some processors without caching never take from the VMCB: that is a matter of other cases."""

_TWO_ENDS = own(Mode.LONG, "mov ebx, 1\nvmmcall\nmov ebx, 2\nvmmcall")
NEVER_CACHED = {
    "TLB_CONTROL": remapped(FLUSH),
    "interrupt shadow": Change(
        Tables().guest(
            0,
            f"nop\nnop\n{OWN_CODE}",
            rflags=Rflags.IF | 2,
            vintr=_pending(),
            intercept_misc1=_MISC1 | Misc1.VINTR,
        ),
        {"interrupt_state": 1}, lambda seen: (exit_code(seen), seen.after.rip - seen.before.rip),
        ("VINTR", 0), ("VINTR", 1),
    ),
    "EVENTINJ": Change(
        Tables().guest(0, OWN_CODE), {"eventinj": 1 << 31 | 3 << 8 | 6}, register("rbx"), NOTHING, 6
    ),
    "RFLAGS": tells_register("pushfq\npop rbx", {"rflags": 0x8D7}, 2, 0x8D7),
    "RIP": Change(_TWO_ENDS, {"rip": _TWO_ENDS.vmcb.rip + 8}, register("rbx"), 1, 2),
    "RSP": tells_register("mov rbx, rsp", {"rsp": places.STACK - 0x800}, places.STACK, places.STACK - 0x800),
    "RAX": tells_register("mov rbx, rax", {"rax": _LINEAR}, 0, _LINEAR),
}  # fmt: skip
