"""What several cases demand of an observation, each a sentence."""

from dataclasses import dataclass

from harness.boot import SVM_INSNS, Insn
from harness.cases import NotRun
from harness.machine.pagewalk import Mapping
from harness.machine.vmcb import Vmcb
from harness.msr import CPUID_SVM, Msr
from harness.observation import Event, Observation


def svm_was_never_enabled(seen: Observation) -> None:
    """No SVM instruction, EFER.SVME never written or seen as 1, VM_HSAVE_PA never written; read from outside."""
    looked_at_the_processor(seen)
    assert not seen.svm_executed(), f"executed {[f'{e.insn} at {e.where}' for e in seen.svm_executed()]}"
    assert seen.first_svme() is None, f"wrote EFER.SVME=1 at {seen.trace[seen.first_svme() or 0].where}"
    assert not seen.svme_seen(), f"EFER.SVME was 1 at {seen.svme_seen()}"
    assert not seen.wrote(Msr.VM_HSAVE_PA), f"wrote VM_HSAVE_PA at {seen.wrote(Msr.VM_HSAVE_PA)[0].where}"
    assert seen.final is not None, f"its last state could not be read: the machine {seen.ended}"
    if cut := seen.given_up(Insn.WRMSR, *SVM_INSNS):
        raise NotRun(f"what it did later was not watched: {cut[0]}")


def reported_svm_features(seen: Observation) -> int:
    """CPUID Fn8000_000A_EDX as the software saw it; 0 when it never asked."""
    reported = [e.after["rdx"] & 0xFFFF_FFFF for e in seen.executed(Insn.CPUID) if e.leaf == CPUID_SVM and e.after]
    return reported[0] if reported else 0


@dataclass(frozen=True)
class Between:
    """A VMCB after a #VMEXIT, and before the next VMRUN of it: what differs was changed by software."""

    after: Vmcb
    before: Vmcb
    where: str


def whole_vmruns(seen: Observation) -> list[Event]:
    """The VMRUNs up to the last before one was missed: places that execute again and again are watched no longer."""
    events = seen.executed(Insn.VMRUN)
    cut = {text.removeprefix(f"{Insn.VMRUN} at ").rpartition(" after ")[0] for text in seen.given_up(Insn.VMRUN)}
    last = {event.where: number for number, event in enumerate(events) if event.where in cut}
    return events[: min(last.values()) + 1] if last else events


def between_vmruns(seen: Observation) -> list[Between]:
    """Every #VMEXIT with the next VMRUN of the same VMCB, as far as all VMRUNs were watched."""
    last: dict[int, Vmcb] = {}
    found = []
    for event in whole_vmruns(seen):
        if event.vmcb is None:
            continue
        address = event.before["rax"]
        if address in last:
            found.append(Between(last[address], Vmcb(event.vmcb), event.where))
        last.pop(address, None)
        if event.vmcb_after is not None:
            last[address] = Vmcb(event.vmcb_after)
    if not found:
        raise NotRun(f"no VMRUN was watched after a #VMEXIT of its VMCB: the machine {seen.ended}")
    return found


def maps_nothing_of_the_hypervisor(seen: Observation) -> None:
    """No nested mapping leads to what it handed to the processor (evidence), or to what it says it keeps (a claim)."""
    if not seen.mappings:
        raise NotRun("the guest's translation tables could not be walked")
    start, end = seen.image_extent
    pages = {"image": (start, end - start), **seen.host_pages()}
    if seen.hsave is not None:
        pages["host save area"] = (seen.hsave, 0x1000)
    for number, kept in enumerate(seen.of_kind("kept")):
        first, last = int(kept.fields["start"]), int(kept.fields["end"])
        pages[f"memory that it keeps ({number})"] = (first, last - first)
    reached = ways(seen.mappings, pages)
    assert not reached, "; ".join(reached[:4])


def ways(mappings: list[Mapping], pages: dict[str, tuple[int, int]]) -> list[str]:
    """Each way that translations lead to memory, given by what it is: (address, size)."""
    return [
        f"guest-physical {mapping.guest + max(at - mapping.host, 0):#x} leads to the {what} at {at:#x}"
        for what, (at, size) in pages.items()
        for mapping in mappings
        if mapping.host < at + size and at < mapping.host + mapping.size
    ]


def given_to_processors(seen: Observation) -> dict[str, tuple[int, int]]:
    """What was seen to be some processor's while it is the host: (address, size) each. Nothing that anybody says.

    Host save areas and the stacks that they were given from; of each VMCB that was run, itself, the tables that it
    names, and the stack, page tables and descriptor tables that the host had at its first VMRUN; the image.
    """
    start, end = seen.image_extent
    pages = {"image": (start, end - start), **seen.host_pages()}
    for write in (event for event in seen.wrote(Msr.VM_HSAVE_PA) if event.completed and event.written):
        pages[f"host save area {write.written:#x}"] = (write.written, 0x1000)
        pages[f"stack of who gave {write.written:#x}"] = (write.before["rsp"] & ~0xFFF, 0x1000)
    for guest in seen.guests:
        pages[f"VMCB {guest.vmcb:#x}"] = (guest.vmcb, 0x1000)
        pages |= {f"nested table {number} of {guest.vmcb:#x}": (at, 0x1000) for number, at in enumerate(guest.tables)}
        if (host := guest.host) is not None:
            pages[f"stack at the VMRUN of {guest.vmcb:#x}"] = (host["rsp"] & ~0xFFF, 0x1000)
            pages[f"page table of the host of {guest.vmcb:#x}"] = (host["cr3"] & ~0xFFF, 0x1000)
            tables = {name: host.tables[name] for name in ("gdt", "idt") if host.tables.get(name, (0, 0))[0]}
            pages |= {f"{name} of the host of {guest.vmcb:#x}": (at, limit + 1) for name, (at, limit) in tables.items()}
    return pages


def is_whole(seen: Observation) -> None:
    """Code, constants and both permission maps hold at the end what they held at the first VMRUN."""
    if missing := {"IOPM", "MSRPM"} - {constant.name for constant in seen.constants}:
        raise NotRun(f"not known: {', '.join(sorted(missing))}")
    changed = [f"{c.name} at {c.address:#x}" for c in seen.constants if c.before != c.after]
    assert not changed, f"changed while the guest ran: {', '.join(changed)}"


def looked_at_the_processor(seen: Observation) -> None:
    """The case is not run when the software never came as far as a CPUID or RDMSR: nothing can be said about it."""
    if not seen.executed(Insn.CPUID, Insn.RDMSR):
        raise NotRun(f"it never looked at the processor: {seen.ended}")
