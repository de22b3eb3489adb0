"""VMCB clean bits: what a hypervisor promises with them, judged by the VMCB at #VMEXIT and at its next VMRUN."""

from conformance.evidence import Between, between_vmruns
from conformance.faults import svm_features
from harness.boot import Boot
from harness.cases import Cpus, NotRun, boots, requirement
from harness.observation import Observation

VMCB_CLEAN = 1 << 5
OFFERED = svm_features(offered=VMCB_CLEAN)
CHANGES_MODES = Boot(name="changes modes", guest="long64", any_guest=True, vmruns=100, faults=(OFFERED,))
SHADOW = Boot(
    name="without nested paging",
    guest="long64",
    any_guest=True,
    faults=(svm_features(offered=VMCB_CLEAN, absent=1),),
)
WHOLE_MACHINE = Boot(name="whole machine", guest="pc.exits", count=5, any_guest=True, faults=(OFFERED,))

GROUPS: dict[int, tuple[str, tuple[tuple[int, int], ...]]] = {
    0: ("intercepts, TSC offset, PAUSE filter", ((0x000, 0x018), (0x03C, 0x040), (0x050, 0x058))),
    1: ("permission maps", ((0x040, 0x050),)),
    2: ("ASID", ((0x058, 0x05C),)),
    3: ("virtual interrupts", ((0x060, 0x068),)),
    4: ("nested paging", ((0x090, 0x098), (0x0B0, 0x0B8), (0x668, 0x670))),
    5: ("CR0, CR3, CR4, EFER", ((0x548, 0x560), (0x4D0, 0x4D8))),
    6: ("DR6, DR7", ((0x560, 0x570),)),
    7: ("GDT, IDT", ((0x464, 0x470), (0x484, 0x490))),
    8: ("CS, DS, SS, ES, CPL", ((0x400, 0x440), (0x4CB, 0x4CC))),
    9: ("CR2", ((0x640, 0x648),)),
    10: ("last-branch records", ((0x670, 0x698),)),
    11: ("AVIC", ((0x098, 0x0A0), (0x0E0, 0x0E8), (0x0F0, 0x100))),
    12: ("S_CET, SSP, ISST_ADDR", ((0x5E0, 0x5F8),)),
}
"""By clean bit: what it covers, and at which bytes that is (15.15.3, appendix B)."""
KNOWN = (1 << len(GROUPS)) - 1


def changed(between: Between) -> dict[int, str]:
    """The groups in which software changed something, by clean bit."""
    after, before = between.after.data, between.before.data
    return {
        bit: name
        for bit, (name, spans) in GROUPS.items()
        if any(after[start:end] != before[start:end] for start, end in spans)
    }


@requirement("SVM-15.15-002")
@boots(CHANGES_MODES, SHADOW, guest_runs=True)
def test_what_was_changed_is_not_called_clean(seen: Observation) -> None:
    """A clean bit is set only where the fields that it covers are what #VMEXIT of that VMCB left, at every VMRUN."""
    pairs = between_vmruns(seen)
    for one in pairs:
        lies = [f"bit {bit} ({name})" for bit, name in changed(one).items() if one.before.vmcb_clean >> bit & 1]
        assert not lies, f"clean field {one.before.vmcb_clean:#x} at {one.where}, changed: {', '.join(lies)}"
    if not any(one.before.vmcb_clean for one in pairs):
        raise NotRun("no clean bit was set at a VMRUN that was watched")


@requirement("SVM-15.15-002")
@boots(WHOLE_MACHINE, cpus=Cpus.WITH_NPT, guest_runs=True)
def test_nor_for_a_guest_of_a_whole_machine(seen: Observation) -> None:
    """The same for a guest whose exits are fewer, and answered in a hurry."""
    test_what_was_changed_is_not_called_clean(seen)


@requirement("SVM-15.15-003")
@boots(CHANGES_MODES)
def test_nothing_is_clean_at_first(seen: Observation) -> None:
    """At the first VMRUN of each VMCB the whole clean field is 0."""
    fresh = {event.before["rax"]: (event, vmcb) for event, vmcb in reversed(seen.vmruns())}
    if not fresh:
        raise NotRun(f"no VMRUN had a VMCB: the machine {seen.ended}")
    for event, vmcb in fresh.values():
        assert vmcb.vmcb_clean == 0, f"clean field {vmcb.vmcb_clean:#x} at {event.where}"


@requirement("SVM-15.15-020")
@boots(CHANGES_MODES, guest_runs=True)
def test_unknown_bits_promise_nothing(seen: Observation) -> None:
    """Where a cached field was changed the clean bits that have no meaning yet are 0."""
    pairs = [one for one in between_vmruns(seen) if changed(one)]
    if not pairs:
        raise NotRun("no cached field was changed at a VMRUN that was watched")
    for one in pairs:
        clean = one.before.vmcb_clean
        assert clean & ~KNOWN == 0, (
            f"clean field {clean:#x} at {one.where}, changed: {', '.join(changed(one).values())}"
        )
