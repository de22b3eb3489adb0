"""What a hypervisor owes the processor: a page of its own, given in time, and then left alone."""

import pytest

from conformance.vmcb.test_moves import PROCESSORS
from harness.boot import Boot, Insn
from harness.cases import NotRun, boots, requirement
from harness.msr import Msr
from harness.observation import Observation

PAGE = 0x1000
LOOPS = THOUSANDS = 2000


def host_save_area(seen: Observation) -> int:
    """Where it is; the case is not run when there is none."""
    if seen.hsave is None:
        raise NotRun(f"VM_HSAVE_PA was never written: the machine {seen.ended}")
    return seen.hsave


@requirement("SVM-15.5.1-007")
@boots(guest_runs=True)
def test_given_before_the_first_vmrun(seen: Observation) -> None:
    """VM_HSAVE_PA is written before the first VMRUN."""
    given = seen.first(e for e in seen.wrote(Msr.VM_HSAVE_PA) if e.completed)
    first_vmrun = seen.first(seen.executed(Insn.VMRUN))
    assert given is not None, "VM_HSAVE_PA was never written"
    assert first_vmrun is not None
    assert given < first_vmrun, f"the first VMRUN, at {seen.trace[first_vmrun].where}, came before it"


@requirement("SVM-15.5.1-007")
@boots()
def test_every_value_written_is_a_page_in_ram(seen: Observation) -> None:
    """Whatever is written to VM_HSAVE_PA is 4-KiB-aligned and lies in RAM, but for a 0 that takes the page back."""
    host_save_area(seen)
    last_vmrun = max((n for n, e in enumerate(seen.trace) if e.insn is Insn.VMRUN), default=-1)
    taken_back = [e for e in seen.trace[last_vmrun + 1 :] if e.insn is Insn.WRMSR and e.written == 0]
    for event in (e for e in seen.wrote(Msr.VM_HSAVE_PA) if e not in taken_back):
        assert event.written % PAGE == 0, f"{event.written:#x}, written at {event.where}, is not 4-KiB-aligned"
        assert 0 < event.written <= seen.ram_size - PAGE, f"{event.written:#x}, written at {event.where}, is not RAM"


@requirement("SVM-15.30.4-005")
@boots(guest_runs=True)
def test_shared_with_nothing(seen: Observation) -> None:
    """The host save area overlaps no VMCB, permission map, page table, descriptor table or stack."""
    area = host_save_area(seen)
    pages = seen.host_pages()
    if missing := {"VMCB", "IOPM", "MSRPM", "host GDT", "host stack"} - set(pages):
        raise NotRun(f"not known: {', '.join(sorted(missing))}")
    for what, (address, size) in pages.items():
        assert address + size <= area or area + PAGE <= address, (
            f"the host save area at {area:#x} overlaps the {what} at {address:#x}"
        )


@requirement("SVM-15.30.4-004")
@boots(PROCESSORS, guest_runs=True)
def test_each_processor_has_its_own(seen: Observation) -> None:
    """No page is given to two of the processors on which a guest runs."""
    pages: dict[int, set[int]] = {}
    for event in seen.wrote(Msr.VM_HSAVE_PA):
        pages.setdefault(event.processor, set()).add(event.written)
    if len(pages) < 2 or len({event.processor for event, _ in seen.vmruns()}) < 2:
        raise NotRun(f"no guest ran on a second processor: the machine {seen.ended}")
    shared = set.intersection(*pages.values())
    assert not shared, f"host save areas of several processors: {[hex(page) for page in shared]}"


@pytest.mark.slow
@requirement("SVM-15.5.1-018", "SVM-15.5.1-047")
@boots(Boot(guest="spin", count=LOOPS, any_guest=True, guard_hsave=True, seconds=60), guest_runs=True)
def test_left_alone_after_set_up(seen: Observation) -> None:
    """Over thousands of VMRUNs the hypervisor neither reads nor writes the page."""
    area = host_save_area(seen)
    assert seen.guarded == (area, PAGE), f"the page was not watched: {seen.guarded}"
    assert not seen.accesses, f"touched at {[f'{a.where} ({a.address:#x})' for a in seen.accesses]}"
    if seen.guarded_vmruns < (seen.boot.count or THOUSANDS):
        raise NotRun(f"it was watched over {seen.guarded_vmruns} VMRUNs only")


@requirement("SVM-15.5.1-047")
@boots(Boot(guest="mixed", count=50, any_guest=True), guest_runs=True)
def test_out_of_the_guests_reach(seen: Observation) -> None:
    """No nested (or shadow) mapping leads the guest to the host save area."""
    area = host_save_area(seen)
    if not seen.mappings:
        raise NotRun("the guest's translation tables could not be walked")
    for mapping in seen.mappings:
        assert mapping.host + mapping.size <= area or area + PAGE <= mapping.host, (
            f"guest-physical {mapping.guest + area - mapping.host:#x} leads to the host save area at {area:#x}"
        )
