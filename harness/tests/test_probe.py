"""The probe on engines: every mode, every way a step can end, and what a program finds of the one before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import build
from harness.boot import Insn
from harness.engines import select
from harness.engines.base import Engine
from harness.engines.qemu import Qemu
from harness.errors import SvmconfError
from harness.lab import wire
from harness.lab.guest import Mode, guest
from harness.lab.payload import Payload, carrying
from harness.lab.program import SCRATCH, Program, Step, StepMode
from harness.lab.programs import program
from harness.lab.runner import run_all
from harness.lab.seen import Seen
from harness.lab.steps import code, enable_svm, execute, rdmsr, vmrun, wrmsr
from harness.machine.ending import How
from harness.machine.image import Image
from harness.model import exits
from harness.msr import Msr

IF = 0x202
NMI, DEBUG, UNDEFINED, DOUBLE_FAULT, PAGE_FAULT = 2, 1, 6, 8, 14
CORNERS = [(mode, cpl) for mode in StepMode for cpl in mode.cpls]
HOSTS = [StepMode.LONG, StepMode.COMPATIBILITY, StepMode.PROTECTED, StepMode.PAE]
"""Where VMRUN can be executed: protected mode at CPL 0."""

APIC = 0xFEE0_0000
ENABLE = "or dword [rax + 0xf0], 0x100\n"
WAIT = "jmp $ + 2\n" * 4  # emulators look for interrupts at jumps
SEND_NMI = f"{ENABLE}mov ecx, [rax + 0x20]\nmov [rax + 0x310], ecx\nmov dword [rax + 0x300], 0x400\n{WAIT}"
SEND_50H = f"{ENABLE}mov dword [rax + 0x300], 0x40050"
TIMER = f"""
    {ENABLE}
    mov dword [rax + 0x3e0], 0xb
    mov dword [rax + 0x320], 0x61
    mov dword [rax + 0x380], 1000
spin:
    pause
    jmp spin
"""


@pytest.fixture(scope="module", autouse=True)
def _probe() -> None:
    """Built once, before any engine boots it."""
    build.probe()


@pytest.fixture(scope="module", params=["qemu-system", "qemu-11.1", "bochs-3.1", "kvm-6.12"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine of each family, as far as they are fetched."""
    try:
        found = select.engine(request.param)
    except SvmconfError as error:
        pytest.skip(f"no {request.param}: {error}")
    yield found
    found.close()


def ran(engine: Engine, *programs: Program) -> list[Seen]:
    """What came of the programs of one batch."""
    return [done.seen() for done in run_all(engine, programs, engine.default_cpus[0])]


def test_code_ends_and_faults_in_every_mode_at_every_cpl(engine: Engine) -> None:
    """Registers, a fault's RIP and the stack pointer are the step's own, and the next step is not disturbed."""

    def tries(mode: StepMode, cpl: int) -> Program:
        return Program(
            steps=(
                code("mov eax, 0x12345678", mode=mode, cpl=cpl, rbx=0x41, rdx=0x80000000),
                code("nop\nnop\nud2", mode=mode, cpl=cpl),
                code("push bx\ninc ebx", mode=mode, cpl=cpl, rbx=0x41),
                code("mov esi, 0x55"),
            )
        )

    for (mode, cpl), seen in zip(CORNERS, ran(engine, *(tries(*corner) for corner in CORNERS)), strict=True):
        where = f"{mode} at CPL {cpl}"
        moved, undefined, pushed, after = seen.steps
        assert (moved.vector, moved.registers["rax"]) == (None, 0x12345678), where
        assert (moved.registers["rbx"], moved.registers["rdx"]) == (0x41, 0x80000000), where
        assert (undefined.vector, undefined.rip) == (UNDEFINED, 2), where
        assert (pushed.vector, pushed.registers["rbx"]) == (None, 0x42), where
        assert pushed.registers["rsp"] & 0xFFF == 0xFFE, where
        assert (after.vector, after.registers["rsi"]) == (None, 0x55), where


def test_vmrun_in_every_mode_that_has_it(engine: Engine) -> None:
    """VMRUN at CPL 0 runs a real-mode guest to its VMMCALL, and the VMCB's changes are recorded."""
    tried = [
        program(*enable_svm(), vmrun(SCRATCH, mode=mode), vmrun(SCRATCH, mode=mode), guests={SCRATCH: guest(Mode.REAL)})
        for mode in HOSTS
    ]
    for mode, seen in zip(HOSTS, ran(engine, *tried), strict=True):
        # KVM raises #UD where paging is off (nested_svm_check_permissions in its nested.c); the manual does not.
        refused = engine.name.startswith("kvm") and mode is StepMode.PROTECTED
        assert [it.exit for it in seen.vmruns()] == [f"#{UNDEFINED}" if refused else exits.VMMCALL] * 2, mode
        assert seen[0].efer & seen[2].efer & 0x1000, mode


def test_a_step_survives_what_it_breaks(engine: Engine) -> None:
    """Descriptor tables, control and debug registers, GIF, segment bases, RSP and the x87 state come back."""
    breaking = (
        code("mov cr0, rax", rax=0x8001_0033 & ~0x1_0000),
        code("mov rax, cr4\nbts rax, 2\nmov cr4, rax"),
        code("mov dr0, rax\nmov dr7, rcx", rax=0x10_0000, rcx=0x401),
        code("mov rsp, rax\npush rax", rax=0x8000_0000_0000_0000),
        code("xor eax, eax\nmov ss, ax\nmov fs, ax\nlldt ax"),
        wrmsr(0xC000_0101, 0x1234_5678_9ABC),
        code("std\nfldz\nfldz\nfldz"),
    )
    (seen,) = ran(engine, Program(steps=(*enable_svm(), *breaking, code("clgi"), rdmsr(0xC000_0101), code("str ax"))))
    assert [it.vector for it in seen.steps] == [*[None] * 5, DOUBLE_FAULT, *[None] * 6]
    assert seen[-2].value == 0
    assert seen[-1].registers["rax"] == 0x28


def test_what_can_be_recorded(engine: Engine) -> None:
    """XMM registers, RFLAGS, the TSC's difference, CR2 and changes of watched memory, each told once."""
    xmm = tuple(n << 64 | 0x1111 * n for n in range(16))
    looked = Program(
        regions={SCRATCH: b"\xaa" * 16 + bytes(4080)},
        watches={SCRATCH + 8: 4088},
        steps=(
            code("paddq xmm1, xmm2", xmm=xmm, time=True),
            code("mov [rax], rbx", rax=SCRATCH + 0xFF8, rbx=0x77, look=False),
            code("mov [rax], ebx", rax=SCRATCH + 8, rbx=0x88, rflags=0xAD7),
            code("nop"),
            code("mov rax, [rax]", rax=0x1_2345_6000, cpl=3),
        ),
    )
    (seen,) = ran(engine, looked)
    first, quiet, look, none, fault = seen.steps
    assert first.xmm == (xmm[0], xmm[2] + xmm[1], *xmm[2:])
    assert first.time is not None and 0 < first.time < 1 << 40
    assert (quiet.changes, none.changes) == ({}, {})
    assert look.changes == {SCRATCH + 8: 0xAAAAAAAA_00000088, SCRATCH + 0xFF8: 0x77}
    assert look.rflags & 0xAD7 == 0xAD7 & ~0x200 | 0x200
    assert (fault.vector, fault.error, fault.cr2) == (PAGE_FAULT, 4, 0x1_2345_6000)


def test_interrupts_end_a_step_and_do_not_outlive_its_program(engine: Engine) -> None:
    """A self-NMI, a self-IPI and the local APIC's timer are caught; the next program finds nothing pending."""
    send = code(SEND_50H, rax=APIC)
    listen = code(WAIT, rflags=IF)
    nmi, timer, sent, left, after, alone = ran(
        engine,
        Program(steps=(code(SEND_NMI, rax=APIC), code("nop"))),
        Program(steps=(code(TIMER, rax=APIC, rflags=IF), listen)),
        Program(steps=(send, listen)),
        Program(steps=(send,)),
        Program(steps=(listen,)),
        Program(steps=(send,)),
    )
    assert [it.vector for it in nmi.steps] == [NMI, None]
    assert timer[0].vector == 0x61
    assert [it.vector for it in sent.steps] == [None, 0x50]
    assert [it.vector for it in (*left.steps, *after.steps, *alone.steps)] == [None] * 3


def test_registers_are_as_after_boot_in_the_next_program(engine: Engine) -> None:
    """EFER, CR2, debug registers, VM_HSAVE_PA, STAR, PAT: what one program wrote the next one does not read."""
    registers = (Msr.EFER, Msr.VM_HSAVE_PA, 0xC000_0081, 0x277)
    read = tuple(rdmsr(msr) for msr in registers)
    write = (*enable_svm(), wrmsr(0xC000_0081, 0x1_2345), wrmsr(0x277, 0x0606_0606_0606_0606))
    spoil = (code("mov cr2, rax\nmov dr0, rax\nmov dr3, rax", rax=0x1234), code("mov dr7, rax", rax=0x4AA))
    debug = code("mov rax, cr2\nmov rbx, dr0\nmov rcx, dr3\nmov rdx, dr7\nmov rsi, dr6")
    fresh, used, again = ran(engine, *(Program(steps=(*s, *read, debug)) for s in ((), (*write, *spoil), ())))
    assert [it.value for it in used.steps[-5:-1]] != [it.value for it in fresh.steps[-5:-1]]
    assert [it.value for it in again.steps[:4]] == [it.value for it in fresh.steps[:4]]
    assert again[-1].registers == fresh[-1].registers
    assert (fresh[-1].registers["rax"], fresh[-1].registers["rdx"]) == (0, 0x400)


def test_a_triple_fault_is_attributed_and_the_batch_goes_on(engine: Engine) -> None:
    """The program that took the machine away is named with its step; those after it run."""
    fatal = code("lidt [rax]\nud2", rax=SCRATCH)
    fine = Program(steps=(code("mov eax, 7"),))
    before, crashed, after = ran(engine, fine, Program(regions={SCRATCH: bytes(16)}, steps=(code("nop"), fatal)), fine)
    assert (crashed.under_way, len(crashed.steps)) == (2, 1)
    assert crashed.ended.how is not How.EXITED
    assert [it[0].registers["rax"] for it in (before, after)] == [7, 7]


def test_code_may_be_spread_or_not(engine: Engine) -> None:
    """A program alone has its code where observers stop; many do not care."""
    steps = (*(Step(code=b"\x90" * n) for n in (1, 2, 2048)), execute(Insn.CPUID))
    one = Program(steps=steps)
    seen = (*ran(engine, one), *ran(engine, one, one))
    assert [[it.rip for it in of.steps] for of in seen] == [[1, 2, 2048, 2]] * 3


def batch(*programs: Program) -> wire.Batch:
    made = wire.Batch()
    assert all(map(made.add, programs))
    return made


@dataclass(frozen=True)
class Other(Payload):
    """A payload with other bytes in the batch than the harness would write: offset and number, 4 bytes each."""

    changes: tuple[tuple[int, int], ...] = ()

    def image(self, probe: Image, copy: Path) -> Image:
        """As ever, then changed."""
        carried = bytearray(self.batch.encoded(self.first))
        for offset, number in self.changes:
            carried[offset : offset + 4] = number.to_bytes(4, "little")
        copy.write_bytes(carrying(probe, bytes(carried)))
        return Image(copy)


def test_a_bad_batch_is_refused_with_a_reason(qemu: Qemu, tmp_path: Path) -> None:
    """The console says what is wrong, and where; nothing was executed."""
    other = Other(batch(Program(steps=(code("nop"), code("nop", cpl=3)))), changes=((40 + 16 + 24 + 4, 0x0001_0900),))
    left = qemu.carry_out(other, "EPYC", tmp_path)
    assert (left.ended.code, left.head) == (0x51, None)
    assert "[svmconf] program 0: step 1: the mode has no CPL 9" in left.console


def test_results_that_are_full_are_taken_back(qemu: Qemu, tmp_path: Path) -> None:
    """The program for which there was no room left nothing, and the ones before it all."""
    one = Program(steps=(code("nop"), code("nop")))
    other = Other(batch(one, one, one), changes=((32, 40 + 2 * (16 + 2 * 64) + 100),))
    left = qemu.carry_out(other, "EPYC", tmp_path)
    assert left.head == wire.Head(ended=2, program=2, step=0, used=40 + 2 * (16 + 2 * 64), full=True)
    assert [result.number for result in left.programs()] == [0, 1]
