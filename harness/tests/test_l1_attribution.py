"""Who answered an instruction, by the kernel's trace: lines as 5.10, 6.12 and 7.3 wrote them."""

from __future__ import annotations

import pytest

from harness.boot import Insn
from harness.machine.l1.attribution import exits, of_events, of_steps, summary
from harness.observation import Event

CODE = 0x112000
NUMBERS = "info1 0x0000000000000000 info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000"


def left(reason: str, rip: int, more: str = "") -> str:
    return f"kvm_exit: vcpu 0 reason {reason} rip {rip:#x} {NUMBERS}{more}\n"


NEXT_STEP = left("msr", 0x10A021) + "kvm_msr: msr_read c0000080 = 0x1500\n" + left("msr", 0x10A021)
NEXT_STEP += "kvm_msr: msr_read c0010117 = 0x0\n"


def event(insn: Insn, rip: int, *, tampered: bool = False) -> Event:
    return Event(insn=insn, cpl=0, before={"rip": rip}, tampered=tampered)


@pytest.mark.parametrize("more", ["", " requests 0x0000000000000000"])
def test_exits_are_read_in_every_kernels_form(more: str) -> None:
    (one,) = exits(left("GP excp", 0x112000, more))
    assert (one.reason, one.rip, one.breakpoint) == ("GP excp", 0x112000, False)
    assert exits(left("io", 0x100, more))[0].breakpoint
    assert exits(left("DB excp", 0x100, more))[0].breakpoint


def test_steps_are_told_apart_by_what_the_probe_reads_behind_each() -> None:
    trace = left("cpuid", 0x1000C2)
    trace += left("msr", CODE) + "kvm_msr: msr_write c0000080 = 0x1500\n" + NEXT_STEP
    trace += NEXT_STEP  # a step that KVM did not see
    trace += left("GP excp", CODE) + "kvm_inj_exception: #GP (0x0)\n" + NEXT_STEP
    assert of_steps(3, trace, CODE) == ("KVM", "TCG", "KVM")


def test_a_step_that_reads_that_register_itself_ends_no_step() -> None:
    trace = left("msr", CODE) + "kvm_msr: msr_read c0010117 = 0x0\n" + NEXT_STEP
    assert of_steps(1, trace, CODE) == ("KVM",)


def test_a_trace_that_is_cut_short_tells_nothing() -> None:
    assert of_steps(2, NEXT_STEP, CODE) == ("", "")


def test_events_are_found_by_their_breakpoints() -> None:
    trace = left("io", 0x100) + left("cpuid", 0x100) + left("DB excp", 0x102)
    trace += left("io", 0x200) + left("DB excp", 0x203)  # STGI, say, without an exit
    trace += left("io", 0x100) + left("cpuid", 0x100) + left("DB excp", 0x102)
    events = [event(Insn.CPUID, 0x100), event(Insn.STGI, 0x200), event(Insn.CPUID, 0x100)]
    assert [one.answered_by for one in of_events(events, trace)] == ["KVM", "TCG", "KVM"]


def test_a_lie_has_no_answer_and_what_is_not_in_the_trace_neither() -> None:
    trace = left("io", 0x100) + left("msr", 0x100) + left("DB excp", 0x102)
    events = [event(Insn.RDMSR, 0x100, tampered=True), event(Insn.RDMSR, 0x300)]
    assert [one.answered_by for one in of_events(events, trace)] == ["", ""]


def test_summary_counts() -> None:
    assert summary(["KVM", "TCG", "KVM", ""]) == "answered 2 of 4 watched instructions, the layer below 1"
    assert "not known" in summary(["", ""])
