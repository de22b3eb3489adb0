"""The host's CS, SS, DS and ES at VMRUN: #VMEXIT may load them anew from the GDT, with a guest's LDTR (15.6)."""

from harness.cases import NotRun, boots, requirement
from harness.machine.registers import Registers
from harness.observation import Observation

NAMES = ("cs", "ss", "ds", "es")
FROM_LDT, INDEX = 1 << 2, 0xFFF8


def at_vmrun(seen: Observation) -> list[Registers]:
    """The host's registers at the first VMRUNs; the case is not run when they were not told."""
    found = [registers for registers in (seen.host, seen.host_again) if registers is not None]
    if not found or any(name not in registers.values for registers in found for name in NAMES):
        raise NotRun(f"the host's selectors were not told: the machine {seen.ended}")
    return found


def descriptor(gdt: bytes, selector: int) -> tuple[int, int, int] | None:
    """Base, limit in bytes, and attributes of a descriptor, as :class:`Registers` has them; ``None`` beyond it."""
    data = gdt[selector & INDEX :][:8]
    if len(data) < 8:
        return None
    low, high = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")
    limit = high & 0xF_0000 | low & 0xFFFF
    base = high & 0xFF00_0000 | (high & 0xFF) << 16 | low >> 16
    return base, limit << 12 | 0xFFF if high & 1 << 23 else limit, high >> 8 & 0xF0FF


@requirement("SVM-15.6-011")
@boots()
def test_segments_come_from_the_gdt(seen: Observation) -> None:
    """The selectors of CS, SS, DS and ES have TI=0 at VMRUN."""
    for registers in at_vmrun(seen):
        from_ldt = {name: hex(registers[name]) for name in NAMES if registers[name] & FROM_LDT}
        assert not from_ldt, f"segments from the LDT: {from_ldt}"


@requirement("SVM-15.6-010")
@boots()
def test_gdt_holds_what_is_loaded(seen: Observation) -> None:
    """The descriptors of CS, SS, DS and ES in the GDT, if not null, are what the processor holds of them at VMRUN."""
    if seen.gdt is None:
        raise NotRun("the host's GDT was not read")
    for registers in at_vmrun(seen):
        if not registers.loaded:
            raise NotRun("the engine does not tell what the processor holds of its segments")
        used = {name: registers[name] for name in NAMES if registers[name] & INDEX and not registers[name] & FROM_LDT}
        assert "cs" in used, f"CS is {registers['cs']:#x}"
        for name, selector in used.items():
            there, loaded = descriptor(seen.gdt, selector), registers.loaded[name]
            assert there == loaded, f"{name} {selector:#x}: the GDT has {there}, the processor {loaded}"
