"""What an exit costs Linux KVM, counted as for any hypervisor: from outside, by the plugin in the QEMU that it runs in.

L1 is the Linux of an engine ``kvm-*``; its guest is the probe, which executes one kind of instruction again and again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import build
from harness.boot import Insn
from harness.deadline import Deadline
from harness.engines.kvm_in_tcg import KvmInTcg
from harness.engines.qemu import PROBE_IMAGE
from harness.errors import EngineError
from harness.lab.payload import Payload
from harness.lab.program import SCRATCH, Program, Step
from harness.machine.handoff import multiboot1
from harness.machine.image import Image
from harness.machine.l1.machine import L1Machine
from harness.machine.l1.snapshot import restored
from harness.machine.l1.wire import Job
from harness.machine.ram import Ram
from harness.msr import Msr
from harness.trace import library
from harness.trace.listen import Listener, listen
from harness.trace.tally import Tally

_MEMORY = 64
_ROUNDS = 500
_SECONDS = 60.0
_AGAIN = bytes.fromhex("49ffc875")  # dec r8; jnz, with the distance to follow
_LEAF_0 = bytes.fromhex("31c0") + Insn.CPUID.opcodes[0]  # xor eax, eax first; KVM looks leaves up one after the other
_NEW_PAGE = bytes.fromhex("c60701 4881c700100000")  # mov byte [rdi], 1; add rdi, 1000h
_READ = bytes.fromhex("8b07")  # mov eax, [rdi]
LOCAL_APIC = 0xFEE0_0000
_APIC_VERSION = LOCAL_APIC + 0x30
_UNTOUCHED = SCRATCH + (16 << 20)
_PAGES = ((_MEMORY << 20) - _UNTOUCHED) // 0x1000


def _loop(body: bytes, rounds: int, **registers: int) -> Step:
    code = body + _AGAIN
    return Step(code=code + bytes([(-len(code) - 1) & 0xFF]), registers={"r8": rounds, **registers})


def _program() -> Program:
    """Exits of each kind that a bench compares; nested page faults by MMIO, and by pages that were never touched."""
    read_write = Insn.RDMSR.opcodes[0] + Insn.WRMSR.opcodes[0]
    return Program(
        steps=(
            _loop(_LEAF_0, _ROUNDS),
            _loop(read_write, _ROUNDS, rcx=Msr.EFER),
            _loop(Insn.VMMCALL.opcodes[0], _ROUNDS, rax=0xFFFF),
            _loop(_READ, _ROUNDS, rdi=_APIC_VERSION),
            _loop(_NEW_PAGE, min(_ROUNDS, _PAGES), rdi=_UNTOUCHED),
        ),
        seconds=_SECONDS,
    )


def count(engine: KvmInTcg, listener: Listener = lambda _: None) -> Tally:
    """Exits by reason and their instructions, of L1's KVM. ``listener`` gets every passage.

    Raises :class:`EngineError` when L0 is no QEMU with plugins or L1 does not run the machine, and what
    :func:`harness.trace.library.build` raises.
    """
    build.probe()
    system = engine.system(memory=_MEMORY)
    if why := library.lacks(Path(system.qemu.argv[-1]), system.qemu.version):
        raise EngineError(f"{engine.name}: instructions cannot be counted: {why}")
    plugin = library.build(system.qemu.version)
    size = system.memory << 20
    with (
        tempfile.TemporaryDirectory(prefix="svmconf-") as folder,
        Ram(size) as ram,
        listen(plugin, listener) as listening,
    ):
        image = Payload.of(_program()).image(Image.load(PROBE_IMAGE), Path(folder) / "program.elf")
        file = f"/proc/self/fd/{ram.descriptor}"
        more = (
            *("-machine", "memory-backend=pc.ram"),  # the name that it has in the state that is restored
            *("-object", f"memory-backend-file,id=pc.ram,size={system.memory}M,mem-path={file},share=on"),
            *listening.plugin.words(file, size),
        )
        descriptors = {"ram": ram.descriptor, "events": listening.plugin.out}
        job = Job(memory=_MEMORY, handoff=multiboot1(image, "", _MEMORY), seconds=_SECONDS)
        deadline = Deadline.after(2 * _SECONDS)
        with restored(system, descriptors, more) as l1, L1Machine(l1, job, deadline) as machine:
            ended = machine.run(lambda stop: None)
    if ended.engine_at_fault:
        raise EngineError(f"{engine.name} does not run the probe: {ended}")
    return listening.tally
