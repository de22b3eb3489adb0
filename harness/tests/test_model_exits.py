"""Exit codes, EXITINFO, intercepts and what comes first, and what #VMEXIT may write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import model
from harness.machine.vmcb import FIELDS, Vmcb
from harness.model import Passage, exits, intercepts, saves
from harness.model.exits import Interrupted, Io
from harness.model.guests import Mode, guest
from harness.model.intercepts import Answer, Fault, answer
from harness.model.state import with_field
from harness.tests.model_edges import EVERYTHING, PATIENT, PLAIN

NOTHING = guest(Mode.LONG, intercept_misc2=1)
ALL_SET = Vmcb(b"\xff" * 0x18 + NOTHING.data[0x18:])


# Exit codes and what they carry


def test_every_code_has_a_name_of_its_own() -> None:
    assert set(range(exits.LAST_BIT + 1)) < set(exits.NAMES)
    assert len(set(exits.NAMES.values())) == len(exits.NAMES) == 0xA7 + 4 + 4
    known = {0x13: "CR3_WRITE", 0x2F: "DR15_READ", 0x4D: "EXCP_GP", 0x49: "EXCP_9", 0x6E: "RDTSC", 0x7F: "SHUTDOWN"}
    known |= {0x81: "VMMCALL", 0x8F: "EFER_WRITE_TRAP", 0x98: "CR8_WRITE_TRAP", 0xA6: "IDLE_HLT", 0x400: "NPF"}
    known |= {(1 << 64) - 1: "INVALID", (1 << 64) - 4: "INVALID_PMC", 0xA7: "0xa7"}
    assert {code: exits.name(code) for code in known} == known


@pytest.mark.parametrize(
    ("code", "info1", "info2", "says"),
    [
        (exits.IOIO, 0xFFFF_0CCD, 0x10, "REP INS port=0xffff size=4 address_size=2 next_rip=0x10"),
        (exits.IOIO, 0x0070_0260, 2, "OUT port=0x70 size=None address_size=8 next_rip=0x2"),
        (exits.MSR, 1, 0, "WRMSR"),
        (exits.MSR, 0, 0, "RDMSR"),
        (exits.NPF, 0x2_0000_0007, 0x1000, "write, present, on a guest's table, guest_physical=0x1000"),
        (exits.NPF, 0x1_0000_0014, 0x1000, "read, fetch, on the final address, guest_physical=0x1000"),
        (0x4E, 2, 0xCAFE, "error=0x2, address=0xcafe"),
        (0x4D, 0x10, 0xCAFE, "error=0x10"),
        (0x46, 0x10, 0xCAFE, ""),
        (exits.TASK_SWITCH, 0x28, 1 << 44 | 1 << 36 | 5, "selector=0x28, IRET, error=0x5"),
        (exits.SMI, 1, 0, "external"),
        (exits.AVIC_INCOMPLETE_IPI, 0x41, 1 << 32, "icr=0x41, target not running"),
        (exits.AVIC_NOACCEL, 1 << 32 | 0x80, 0, "write offset=0x80"),
        (0x13, 1 << 63 | 7, 0, ""),
        (0x72, 5, 5, ""),
    ],
)
def test_exitinfo_in_words(code: int, info1: int, info2: int, says: str) -> None:
    assert exits.describe(code, info1, info2) == says


@pytest.mark.parametrize(
    ("code", "info1", "says"),
    [(0x13, 1 << 63 | 7, "register=7"), (0x10, 0, "no MOV"), (0x37, 3, "register=3"), (0x75, 0x80, "vector=0x80"),
     (0x79, 0xFEED, "address=0xfeed"), (0x72, 5, "")],
)  # fmt: skip
def test_what_decode_assists_add(code: int, info1: int, says: str) -> None:
    assert exits.describe(code, info1, 0, decode_assists=True) == says


@PATIENT
@given(st.integers(0, 0xFFFF), st.booleans(), st.sampled_from((1, 2, 4)), st.sampled_from((2, 4, 8)))
def test_io_fields_come_back(port: int, is_in: bool, size: int, address_size: int) -> None:
    info = Io.of(port << 16 | is_in | size << 4 | (address_size // 2) << 7, 0)
    assert (info.port, info.is_in, info.size, info.address_size) == (port, is_in, size, address_size)


def test_an_interrupted_event() -> None:
    assert Interrupted.of(0x7FFF_FFFF) is None
    assert str(Interrupted.of(0x10_8000_0B0D)) == "exception 13 error=0x10"
    assert str(Interrupted.of(0x8000_0020)) == "interrupt 32"
    assert str(Interrupted.of(0x8000_0520)) == "type 5 32"


@pytest.mark.parametrize("code", sorted(exits.NAMES))
def test_only_what_is_defined_is_described(code: int) -> None:
    """Bits that mean nothing never change what a person reads."""
    everything = (1 << 64) - 1
    for assists, noise in ((False, everything), (True, everything), (False, 0), (True, 0)):
        for info in (everything, 0, 1 << 44 | 1 << 63):
            mask1, mask2 = exits.defined(code, info, info, assists)
            noisy = info & mask1 | noise & ~mask1, info & mask2 | noise & ~mask2
            assert exits.describe(code, *noisy, assists) == exits.describe(code, info, info, assists)


# Intercepts


@PATIENT
@given(st.integers(0, exits.LAST_BIT))
def test_a_code_is_its_bits_place(code: int) -> None:
    data = bytearray(0x1000)
    data[code // 8] = 1 << code % 8
    vmcb = Vmcb(bytes(data))
    assert [n for n in range(exits.LAST_BIT + 1) if intercepts.intercepted(vmcb, n)] == [code]
    assert not intercepts.intercepted(vmcb, 0x400)


@pytest.mark.parametrize("action", intercepts.INTERCEPTS)
def test_an_intercepted_action_exits_and_another_does_not(action: str) -> None:
    one = intercepts.INTERCEPTS[action]
    assert answer(action, ALL_SET, EVERYTHING) == Answer(exit=one.code)
    assert answer(action, ALL_SET, EVERYTHING, [Fault.ABSENT]) == Answer(fault=Fault.ABSENT)
    if action != "VMRUN":
        assert answer(action, NOTHING, EVERYTHING) == Answer()
        assert answer(action, NOTHING, EVERYTHING, [Fault.MEMORY, Fault.PRIVILEGE]) == Answer(fault=Fault.PRIVILEGE)


FAULTS = st.sets(st.sampled_from(Fault), min_size=1)


@PATIENT
@given(st.sampled_from(sorted(intercepts.INTERCEPTS)), FAULTS)
def test_what_comes_first(action: str, faults: set[Fault]) -> None:
    one = intercepts.INTERCEPTS[action]
    seen = answer(action, ALL_SET, EVERYTHING, faults)
    early = faults & (one.after | {Fault.ABSENT})
    assert seen == (Answer(fault=min(early)) if early else Answer(exit=one.code))


@pytest.mark.parametrize(
    ("action", "fault", "exits_"),
    [
        ("PUSHF", Fault.MEMORY, True), ("RSM", Fault.MODE, True), ("VMMCALL", Fault.PRIVILEGE, True),
        ("RDTSC", Fault.PRIVILEGE, False), ("SIDT", Fault.MEMORY, True), ("SIDT", Fault.VALUE, False),
        ("read CR0", Fault.MEMORY, True), ("write CR8", Fault.VALUE, False), ("XSETBV", Fault.PRIVILEGE, True),
        ("XSETBV", Fault.MODE, False), ("INVPCID", Fault.VALUE, True), ("INVPCID", Fault.PRIVILEGE, False),
        ("I/O", Fault.PRIVILEGE, False), ("I/O", Fault.MEMORY, True), ("MSR", Fault.PRIVILEGE, False),
        ("MSR", Fault.VALUE, True), ("CLGI", Fault.PRIVILEGE, False), ("INVD", Fault.PRIVILEGE, False),
    ],
)  # fmt: skip
def test_order_of_single_instructions(action: str, fault: Fault, exits_: bool) -> None:
    seen = answer(action, ALL_SET, EVERYTHING, [fault])
    assert seen == (Answer(exit=intercepts.INTERCEPTS[action].code) if exits_ else Answer(fault=fault))


@pytest.mark.parametrize("action", ["VMRUN", "VMLOAD", "VMSAVE"])
def test_a_bad_vmcb_address_comes_before_the_intercept_but_for_a_feature(action: str) -> None:
    code = intercepts.INTERCEPTS[action].code
    assert answer(action, ALL_SET, EVERYTHING, [Fault.VALUE]) == Answer(exit=code)
    assert answer(action, ALL_SET, PLAIN, [Fault.VALUE]) == Answer(fault=Fault.VALUE)


@pytest.mark.parametrize(
    ("intercepted", "old", "new", "how", "code"),
    [
        ({"intercept_misc1": 1 << 5}, 0x11, 0x19, "MOV", None),  # TS
        ({"intercept_misc1": 1 << 5}, 0x11, 0x13, "MOV", None),  # MP
        ({"intercept_misc1": 1 << 5}, 0x11, 0x15, "MOV", 0x65),
        ({"intercept_misc1": 1 << 5}, 0x19, 0x11, "CLTS", None),
        ({"intercept_misc1": 1 << 5}, 0x11, 0x11, "LMSW", 0x65),
        ({"intercept_misc1": 1 << 5, "intercept_cr_write": 1}, 0x11, 0x15, "MOV", 0x10),
        ({"intercept_cr_write": 1}, 0x19, 0x11, "CLTS", 0x10),
        ({}, 0x11, 0x15, "MOV", None),
    ],
)
def test_writes_of_cr0(intercepted: dict[str, Any], old: int, new: int, how: str, code: int | None) -> None:
    assert intercepts.write_cr0(guest(Mode.LONG, **intercepted), old, new, how) == code


def test_halt_and_mwait() -> None:
    both = guest(Mode.LONG, intercept_misc1=1 << 24, intercept_misc3=1 << 6)
    idle = guest(Mode.LONG, intercept_misc3=1 << 6)
    assert intercepts.halt(both, EVERYTHING, pending=False) == exits.HLT
    assert [intercepts.halt(idle, EVERYTHING, pending) for pending in (False, True)] == [exits.IDLE_HLT, None]
    assert intercepts.halt(idle, PLAIN, pending=False) is None
    waits = guest(Mode.LONG, intercept_misc2=1 | 3 << 11)
    assert [intercepts.mwait(waits, armed) for armed in (True, False)] == [0x8C, 0x8B]
    assert intercepts.mwait(NOTHING, armed=True) is None


def test_exceptions() -> None:
    assert intercepts.exception(ALL_SET, 14) == 0x4E
    assert intercepts.exception(ALL_SET, 14, raised=False) is None
    assert intercepts.exception(ALL_SET, 2) is None and intercepts.exception(ALL_SET, 9) is None
    assert intercepts.exception(NOTHING, 14) is None


@PATIENT
@given(st.integers(0, 0xFFFF), st.sampled_from((1, 2, 4)), st.integers(0, 65538))
def test_the_io_map(port: int, size: int, bit: int) -> None:
    iopm = bytearray(0x3000)
    iopm[bit // 8] |= 1 << bit % 8
    asked = guest(Mode.LONG, intercept_misc1=1 << 27)
    assert intercepts.io(asked, bytes(iopm), port, size) is (port <= bit < port + size)
    assert not intercepts.io(NOTHING, b"\xff" * 0x3000, port, size)


@pytest.mark.parametrize(
    ("number", "bit"), [(0, 0), (0x1FFF, 0x3FFE), (0xC000_0000, 0x4000), (0xC000_0080, 0x4100), (0xC001_1FFF, 0xBFFE)]
)
def test_the_msr_map(number: int, bit: int) -> None:
    asked = guest(Mode.LONG, intercept_misc1=1 << 28)
    for write in (False, True):
        one = bit + write
        msrpm = bytearray(0x2000)
        msrpm[one // 8] |= 1 << one % 8
        assert intercepts.msr(asked, bytes(msrpm), number, write)
        assert not intercepts.msr(asked, bytes(msrpm), number, not write)
    assert not intercepts.msr(NOTHING, b"\xff" * 0x2000, number, True)


@pytest.mark.parametrize("number", [0x2000, 0xBFFF_FFFF, 0xC000_2000, 0xC001_2000, 0xFFFF_FFFF])
def test_an_msr_outside_of_the_map_is_intercepted(number: int) -> None:
    assert intercepts.msr(guest(Mode.LONG, intercept_misc1=1 << 28), bytes(0x2000), number, False)


# What #VMEXIT leaves

BEFORE = guest(Mode.LONG, True, intercept_misc1=(1 << 32) - 1, intercept_exceptions=(1 << 32) - 1)


def after(code: int = exits.VMMCALL, before: Vmcb = BEFORE, **fields: int) -> Passage:
    """A VMRUN that came back as it should, but for these fields."""
    values = {"rip": 0x8000, "nrip": 0x8003} | fields
    if code not in saves._WITH_NEXT_RIP and "nrip" not in fields:
        values["nrip"] = 0
    vmcb = with_field(before, "exitcode", code)
    for name, value in values.items():
        vmcb = with_field(vmcb, name.replace("__", "."), value)
    return Passage(before, vmcb, EVERYTHING)


HOST_BEFORE = {"rip": 0x10_0000, "rax": 0x1000, "rsp": 0x9000, "eflags": 0x1_0002, "cr3": 0x5000, "efer": 0x1500}
HOST_AFTER = HOST_BEFORE | {"rip": 0x10_0003, "eflags": 2}


def resumed(**registers: int) -> Passage:
    return replace(after(), host=HOST_BEFORE, resumed=HOST_AFTER | registers)


NPF = exits.NPF
LEGAL: dict[str, Callable[[], Passage]] = {
    "VMMCALL": after,
    "host": resumed,
    "INVALID": lambda: after(exits.INVALID, nrip=0, eventinj=1 << 31, star=7),
    "INTR": lambda: after(0x60),
    "IOIO": lambda: after(exits.IOIO, exitinfo1=0x00E9_0210, exitinfo2=0x8002, nrip=0x8002),
    "MSR": lambda: after(exits.MSR, exitinfo1=1),
    "NPF": lambda: after(NPF, exitinfo1=0x1_0000_0006, bytes_fetched=15),
    "NPF, no bytes": lambda: after(NPF, exitinfo1=0x1_0000_0015),
    "#PF": lambda: after(0x4E, exitinfo1=2, exitinfo2=0xCAFE, bytes_fetched=3),
    "#SX": lambda: after(0x5E, exitinfo1=1),
    "VINTR": lambda: after(exits.VINTR, vintr=1 << 8),
    "interrupted": lambda: after(NPF, exitinfo1=0x1_0000_0006, exitintinfo=1 << 31 | 3 << 8 | 14),
    "guest's own": lambda: after(cr0=0x8000_0013, rax=5, rflags=0x246, g_pat=0x06, cs__base=0x1000, cpl=3),
}

WRONG: dict[str, tuple[Callable[[], Passage], tuple[str, ...]]] = {
    "known_code": (lambda: after(0x404), ("exitcode",)),
    "invalid_has_64_bits": (lambda: after(0xFFFF_FFFF), ("exitcode",)),
    "asked_for": (lambda: after(0x86), ("exitcode",)),
    "nested_fault_asked_for": (lambda: after(NPF, guest(Mode.LONG), exitinfo1=0x1_0000_0004), ("exitcode",)),
    "control_kept": (lambda: after(tlb_control=1, guest_asid=2, n_cr3=0), ("guest_asid", "tlb_control", "n_cr3")),
    "vmload_set_kept": (lambda: after(star=1, fs__base=1), ("fs.base", "star")),
    "g_pat_kept": (lambda: after(before=guest(Mode.LONG), g_pat=6), ("g_pat",)),
    "host_resumes": (lambda: resumed(rip=0x10_0000), ("host.rip",)),
    "host_restored": (lambda: resumed(rax=5, efer=0x500), ("host.rax", "host.efer")),
    "host_flags": (lambda: resumed(eflags=0x1_0002), ("host.rflags",)),
    "event_cleared": (lambda: after(eventinj=1 << 31 | 0x20), ("eventinj",)),
    "interrupted_type": (lambda: after(exitintinfo=1 << 31 | 5 << 8), ("exitintinfo",)),
    "next_rip": (lambda: after(nrip=0x8010), ("nrip",)),
    "no_next_rip": (lambda: after(0x60, nrip=0x8003), ("nrip",)),
    "no_bytes_fetched": (lambda: after(bytes_fetched=3), ("bytes_fetched",)),
    "bytes_fetched": (lambda: after(NPF, exitinfo1=0x1_0000_0004, bytes_fetched=16), ("bytes_fetched",)),
    "io_size": (lambda: after(exits.IOIO, exitinfo1=0x230, exitinfo2=0x8001), ("exitinfo1",)),
    "io_address_size": (lambda: after(exits.IOIO, exitinfo1=0x10, exitinfo2=0x8001), ("exitinfo1",)),
    "io_next_rip": (lambda: after(exits.IOIO, exitinfo1=0x210, exitinfo2=0x8000), ("exitinfo2",)),
    "msr_direction": (lambda: after(exits.MSR, exitinfo1=2), ("exitinfo1",)),
    "nested_user": (lambda: after(NPF, exitinfo1=0x1_0000_0002), ("exitinfo1",)),
    "nested_reserved": (lambda: after(NPF, exitinfo1=0x1_0000_000C), ("exitinfo1",)),
    "nested_fetch": (lambda: after(NPF, exitinfo1=0x2_0000_0014), ("exitinfo1",)),
    "nested_where": (lambda: after(NPF, exitinfo1=0x3_0000_0004), ("exitinfo1",)),
    "debug_register_number": (lambda: after(0x27, ALL_SET, exitinfo1=0x10), ("exitinfo1",)),
    "interrupt_number": (lambda: after(0x75, exitinfo1=0x100), ("exitinfo1",)),
    "alignment_error_code": (lambda: after(0x51, exitinfo1=1), ("exitinfo1",)),
    "security_error_code": (lambda: after(0x5E, exitinfo1=0), ("exitinfo1",)),
    "bus_lock_info": (lambda: after(0xA5, ALL_SET, exitinfo2=1), ("exitinfo2",)),
    "virtual_interrupt_pending": (lambda: after(exits.VINTR), ("vintr",)),
}


def test_every_exit_rule_has_an_example() -> None:
    assert list(WRONG) == [rule.name for rule in model.exit_rules()]


@pytest.mark.parametrize("name", LEGAL)
def test_what_may_stand_there_after_an_exit(name: str) -> None:
    verdict = model.judge_exit(LEGAL[name]())
    assert verdict.outcome is model.Outcome.RUNS, verdict


@pytest.mark.parametrize("name", WRONG)
def test_what_must_not(name: str) -> None:
    make, fields = WRONG[name]
    rule = next(rule for rule in model.exit_rules() if rule.name == name)
    found = rule(make())
    assert tuple(one.field for one in found) == fields
    verdict = model.judge_exit(make())
    assert verdict.outcome is model.Outcome.DEVIATION
    assert set(verdict.violations) == set(found), "it breaks another rule as well"


def test_what_is_written_and_what_is_kept_are_fields_and_apart() -> None:
    groups = (saves.WRITTEN, set(saves.KEPT), set(saves.VMLOAD_SET))
    assert set().union(*groups) <= set(FIELDS)
    assert sum(map(len, groups)) == len(set().union(*groups))
    others = {"g_pat", "nrip", "bytes_fetched", "s_cet", "ssp", "isst_addr"}
    others |= {"dbgctl", "br_from", "br_to", "lastexcpfrom", "lastexcpto", "spec_ctrl"}  # what features add
    reserved = {f"{table}.{part}" for table in ("gdtr", "idtr") for part in ("selector", "attrib")}
    assert set(FIELDS) - set().union(*groups) == others | reserved


JUDGED = {"exitcode", "exitinfo1", "exitinfo2", "exitintinfo", "eventinj", "rip"}


@PATIENT
@given(st.sampled_from(sorted(saves.WRITTEN - JUDGED)))
def test_a_guest_may_change_what_is_written(name: str) -> None:
    changed = after()
    vmcb = with_field(changed.after, name, changed.after[name] ^ 1)
    assert model.judge_exit(replace(changed, after=vmcb)).outcome is model.Outcome.RUNS


def test_vmload_may_exit_unasked_where_its_virtualization_cannot_work() -> None:
    before = guest(Mode.LONG, virt_enables=2)
    assert model.judge_exit(after(exits.VMLOAD, before)).outcome is model.Outcome.RUNS
    assert model.judge_exit(after(exits.VMLOAD, guest(Mode.LONG))).outcome is model.Outcome.DEVIATION
