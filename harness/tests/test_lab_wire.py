"""Programs and results as bytes: what both sides of docs/protocol.md, "The probe", hold themselves to."""

from __future__ import annotations

import struct

import pytest

from harness import paths
from harness.errors import ProtocolError
from harness.lab import wire
from harness.lab.program import Program, Step, StepMode
from harness.machine.registers import EFER_SVME

TESTDATA = paths.HYPERVISOR / "probe" / "testdata"
VMCB = 0x0100_0000

FIRST = Step(
    code=bytes.fromhex("0f01d8"), registers={"rax": VMCB, "r15": 0xFEDC_BA98_7654_3210}, rflags=0x202, time=True,
    vmcb=VMCB,
)  # fmt: skip
XMM = tuple(int.from_bytes(bytes(range(n, n + 16)), "little") for n in range(0, 256, 16))
SECOND = Step(code=b"\x0f\x0b", mode=StepMode.REAL, xmm=XMM, look=False, state=False)
THIRD = Step(
    code=b"\x90", mode=StepMode.COMPATIBILITY, cpl=3, registers={"rsp": 0x0180_1000}, look=False,
    state=False,
)  # fmt: skip
ONE = Program(regions={VMCB: b"abc".ljust(0x1000, b"\0")}, watches={VMCB: 0x1000, 0x1_0000: 8}, steps=(FIRST, SECOND))
TWO = Program(steps=(THIRD,), thorough=False)


def golden(name: str) -> bytearray:
    return bytearray.fromhex("".join((TESTDATA / name).read_text().split()))


def test_programs_are_written_as_the_probe_reads_them() -> None:
    """But for a limit of the results, and tags, of which the harness makes no use."""
    batch = wire.Batch({0x1_0000: bytes.fromhex("0f01d9")})
    assert batch.add(ONE) and batch.add(TWO)
    written = bytearray(batch.encoded())
    struct.pack_into("<I", written, 32, 0x1_0000)
    first = int.from_bytes(written[28:32], "little")
    second = first + int.from_bytes(written[first : first + 4], "little")
    for tag, at in ((7, first), (0x8000_0001, second)):
        struct.pack_into("<I", written, at + 12, tag)
    assert written.hex() == golden("program-v2.hex").hex()


def test_a_batch_takes_what_fits() -> None:
    """And a first program in any case; what programs have in common is there once."""
    batch = wire.Batch(room=0x8000)
    added = sum(batch.add(ONE) for _ in range(1000))
    assert 10 < added < 1000 and len(batch.encoded()) <= 0x8000
    assert not batch.add(ONE) and wire.Batch(room=16).add(ONE)


def test_results_are_read_as_the_probe_writes_them() -> None:
    data = bytes(golden("results-v2.hex"))
    head = wire.Head.of(data)
    assert head is not None
    assert (head.ended, head.program, head.step, head.used, head.full) == (1, 1, 1, len(data), False)
    one, two = wire.results(data[wire.RESULTS_HEAD : head.used])
    assert (one.number, len(one), two.number, len(two)) == (0, 2, 1, 0)
    first, second = one.steps(ONE)
    assert (first.vector, first.rip, first.efer, first.vm_hsave_pa) == (None, 3, 0x1D00, 0x0180_0000)
    assert first.efer & EFER_SVME
    assert first.changes == {VMCB + 0x70: 0x81, 0x1_0000: 0x1122_3344_5566_7788}
    assert first.registers["rax"] == VMCB  # as it was loaded
    assert (second.vector, second.error, second.cr2) == (13, 16, 0xDEAD_F000)
    assert (second.registers["rax"], second.registers["rsp"]) == (0, 0x7FFE)
    assert second.xmm is not None
    assert second.xmm[:2] == (0x0101 << 64, 0x0303 << 64 | 0x0202)


@pytest.mark.parametrize("cut", [20, 56, 100])
def test_results_that_are_cut_short_are_refused(cut: int) -> None:
    data = bytes(golden("results-v2.hex"))
    with pytest.raises(ProtocolError):
        list(wire.results(data[wire.RESULTS_HEAD : wire.RESULTS_HEAD + cut]))


def test_a_probe_of_another_version_is_refused() -> None:
    data = golden("results-v2.hex")
    data[4] = 3
    with pytest.raises(ProtocolError, match="version 3"):
        wire.Head.of(bytes(data))


@pytest.mark.parametrize(
    "how",
    [
        {"code": b""},
        {"code": bytes(2049)},
        {"code": b"\x90", "cpl": 4},
        {"code": b"\x90", "mode": StepMode.V86, "cpl": 0},
        {"code": b"\x90", "registers": {"xyz": 1}},
        {"code": b"\x90", "xmm": (1, 2)},
    ],
)
def test_steps_that_the_probe_refuses_are_no_steps(how: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Step.model_validate(how)


@pytest.mark.parametrize(
    "how", [{"regions": {0x20_0000: b"x"}}, {"watches": {VMCB + 4: 8}}, {"watches": {VMCB: 2 << 20}}]
)
def test_programs_that_the_probe_refuses_are_no_programs(how: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Program.model_validate({"steps": (SECOND,)} | how)
