"""What is said between us and the monitor in L1: the same bytes as in ``hypervisor/vmm/src/wire/tests.rs``."""

from __future__ import annotations

import struct

import pytest

from harness.errors import ProtocolError
from harness.machine.handoff import Handoff
from harness.machine.l1 import wire
from harness.machine.l1.wire import CpuidChange, Ended, Job, decode


def test_a_job_is_laid_out_as_the_monitor_reads_it() -> None:
    job = Job(
        memory=64,
        handoff=Handoff(((0x10_0000, b"abc"),), 0x10_0040, 0x2BAD_B002, 0x9000),
        debug=True,
        trace=True,
        seconds=2.5,
        console=4096,
        cpuid=(CpuidChange(0x8000_0001, "ecx", keep=0xFFFF_FFFB),),
        msrs={0xC001_0114: 0x18},
    )
    numbers = struct.pack("<IIIIQQQ", 64, 0b101, 2500, 4096, 0x10_0040, 0x2BAD_B002, 0x9000)
    changes = struct.pack("<HIBII", 1, 0x8000_0001, 2, 0xFFFF_FFFB, 0) + struct.pack("<HIQ", 1, 0xC001_0114, 0x18)
    memory = struct.pack("<HHQI", 0, 1, 0x10_0000, 3) + b"abc"
    body = b"J" + numbers + changes + memory
    assert job.encode() == struct.pack("<I", len(body)) + body


def test_other_requests() -> None:
    assert wire.read(0x1000, 16) == b"\x0d\0\0\0R" + struct.pack("<QI", 0x1000, 16)
    assert wire.close() == b"\x01\0\0\0C"
    program = wire.execute(["true"], {"/a": b"x"}, 1.0)
    assert (
        program[4:]
        == b"X"
        + struct.pack("<IHI", 1000, 1, 4)
        + b"true"
        + struct.pack("<HI", 1, 2)
        + b"/a"
        + struct.pack("<I", 1)
        + b"x"
    )


def test_replies_are_understood() -> None:
    assert decode(b"S") == wire.Started()
    assert decode(b"Dabc") == wire.Printed("debug", b"abc")
    assert decode(b"Uabc") == wire.Printed("serial", b"abc")
    assert decode(b"Mabc") == wire.Memory(b"abc")
    assert decode(b"W" + struct.pack("<Q", 0x1000) + b"abc") == wire.Wanted(0x1000, b"abc")
    assert decode(b"Tkvm_exit") == wire.Trace("kvm_exit")
    assert decode(b"C") == wire.Closed()
    assert decode(b"P\xff\xff\xff\xffout") == wire.ProgramEnded(-1, b"out")
    body = struct.pack("<BBHQQQ", 3, 0, 1, 7, 9_000_000, 0x1234) + b"why"
    assert decode(b"Z" + body) == Ended("timed out", 0, 7, 9.0, (0x1234,), "why")


@pytest.mark.parametrize(
    "frame", [b"", b"?", b"Z", b"Z" + bytes(2) + b"\xff\xff" + bytes(16), b"Z\xff" + bytes(19), b"P"]
)
def test_nonsense_is_named(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(frame)
