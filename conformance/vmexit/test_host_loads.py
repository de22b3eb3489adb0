"""What a hypervisor must load by itself after #VMEXIT before anything may interrupt it (15.6)."""

from harness.boot import Insn
from harness.cases import NotRun, boots, requirement
from harness.observation import Observation


@requirement("SVM-15.6-022")
@boots(guest_runs=True)
def test_host_has_its_task_register_back(seen: Observation) -> None:
    """Between #VMEXIT and STGI a VMLOAD of another VMCB than the guest's brings TR, LDTR, FS, GS and MSRs back."""
    guest: int | None = None
    loaded = seen_stgi = False
    for event in seen.trace[: seen.trace_whole]:
        if event.insn is Insn.VMRUN and event.vmcb_after is not None:
            guest, loaded = event.before["rax"], False
        elif event.insn is Insn.VMLOAD:
            loaded = event.before["rax"] != guest
        elif event.insn is Insn.STGI and guest is not None:
            seen_stgi = True
            assert loaded, f"GIF is set with the guest's TR at {event.where}"
    if not seen_stgi:
        raise NotRun("no STGI after a #VMEXIT was watched")
