"""How a hypervisor's own page tables map what the processor uses: walked in its memory (15.5.1, 15.6, 15.10, 15.11).

The memory type is that of the page tables and the PAT alone: firmware has made RAM write-back by the MTRRs.
"""

from harness.boot import Insn
from harness.cases import NotRun, boots, requirement
from harness.machine.pagewalk import Mapping
from harness.msr import Msr
from harness.observation import Observation

RESET_PAT = 0x0007_0406_0007_0406
WRITE_BACK = 6
PAGE = 0x1000


def host_mappings(seen: Observation) -> list[Mapping]:
    """The host's translations; the case is not run when they could not be walked."""
    if not seen.host_mappings:
        raise NotRun("the host's page tables could not be walked: no VMRUN was watched, or they are too large")
    return seen.host_mappings


def memory_types(seen: Observation, address: int, size: int) -> set[int]:
    """The types of memory of all that leads to these physical bytes; the PAT is the one that was written last."""
    written = [e.written for e in seen.executed(Insn.WRMSR) if e.msr == Msr.PAT and e.completed]
    pat = (written or [RESET_PAT])[-1]
    found = [m for m in host_mappings(seen) if m.host < address + size and address < m.host + m.size]
    return {pat >> 8 * mapping.pat & 0xFF for mapping in found}


def is_write_back(seen: Observation, *names: str) -> None:
    """Whatever leads to these pages is write-back, and something does."""
    pages = seen.host_pages()
    if missing := [name for name in names if name not in pages]:
        raise NotRun(f"no VMRUN named a {missing[0]}")
    types = {name: memory_types(seen, *pages[name]) for name in names}
    assert types == {name: {WRITE_BACK} for name in names}


@requirement("SVM-15.5.1-006")
@boots()
def test_vmcb_is_write_back(seen: Observation) -> None:
    """The host maps the VMCB as write-back memory."""
    is_write_back(seen, "VMCB")


@requirement("SVM-15.10-019", "SVM-15.11-013")
@boots()
def test_permission_maps_are_write_back(seen: Observation) -> None:
    """The host maps the I/O permission map and the MSR permission map as write-back memory."""
    is_write_back(seen, "IOPM", "MSRPM")


@requirement("SVM-15.6-024")
@boots()
def test_gdt_is_present_and_writable(seen: Observation) -> None:
    """The host maps its GDT, and maps it writable."""
    base, limit = (seen.host.tables if seen.host else {}).get("gdt", (0, 0))
    if not base:
        raise NotRun("where the host's GDT is was not told")
    pages = range(base & -PAGE, base + limit + 1, PAGE)
    found = {page: [m for m in host_mappings(seen) if m.guest <= page < m.guest + m.size] for page in pages}
    states = {hex(page): [m.writable for m in there] for page, there in found.items()}
    assert states == {hex(page): [True] for page in pages}
