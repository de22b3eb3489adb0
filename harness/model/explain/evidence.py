"""VMRUNs that were observed, as states that the model can judge: of a hypervisor that booted, of a probe's program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.boot import Insn
from harness.lab.program import StepMode
from harness.lab.seen import Seen, VmrunSeen
from harness.machine.vmcb import Vmcb
from harness.model.cpuid import LEAST, Cpuid
from harness.model.registers import Efer
from harness.model.state import Processor, State
from harness.model.verdict import Outcome
from harness.msr import Msr
from harness.observation import Event, Observation
from harness.spec.processor import LEAVES

_UD, _GP = 6, 13
_PAGE = 0x1000
_SHORT = b"\x67" + Insn.VMRUN.opcodes[0]
"""VMRUN with the address-size prefix: of rAX it takes EAX."""


@dataclass(frozen=True)
class Vmrun:
    """One VMRUN: what it found, where it stood, and what the processor did; ``None`` when that was not seen.

    ``cs`` is the host's, where it is known.
    """

    state: State
    did: Outcome | None
    where: str = ""
    cs: int | None = None


def of_boot(seen: Observation, cpuid: Cpuid | None = None) -> list[Vmrun]:
    """Every VMRUN that was watched while a hypervisor ran. Without ``cpuid`` what it asked CPUID itself is all we know.

    Lies that were told to it are left out: of what follows from them nothing can be said.
    """
    known = cpuid or asked(seen)
    found: list[Vmrun] = []
    hsave: int | None = 0  # after reset
    for event in seen.trace:
        if event.insn is Insn.WRMSR and event.msr == Msr.VM_HSAVE_PA and event.completed:
            hsave = event.written
        elif event.insn is Insn.VMRUN and not event.tampered:
            vmcb = Vmcb(event.vmcb) if event.vmcb is not None else None
            registers = _registers(seen)
            state = State(_host(event, registers, known, hsave), event.before["rax"], vmcb)
            found.append(Vmrun(state, _came_back(event), event.where, registers.get("cs")))
    return found


def _registers(seen: Observation) -> dict[str, int]:
    """The host's control registers and CS: at the first VMRUN that had a VMCB; without one, so no guest, at the end."""
    if seen.host is not None:
        return seen.host.values
    return seen.final.values if seen.final is not None else {}


def _host(event: Event, registers: dict[str, int], cpuid: Cpuid, hsave: int | None) -> Processor:
    """The event's own registers, and those that it does not hold."""
    efer = event.before.get("efer")
    return Processor(
        cpuid=cpuid,
        efer=efer,
        cr0=registers.get("cr0"),
        cr4=registers.get("cr4"),
        rflags=event.before.get("eflags"),
        cpl=event.cpl,
        vm_hsave_pa=hsave,
        address_bits=64 if efer is None or efer & Efer.LMA else 32,
    )


def _came_back(event: Event) -> Outcome | None:
    if event.vmcb_after is None:
        return None
    return Outcome.INVALID if Vmcb(event.vmcb_after).refused else Outcome.RUNS


def asked(seen: Observation) -> Cpuid:
    """What CPUID answered a hypervisor, as far as it asked; on top of what every processor with SVM has."""
    leaves: dict[int, tuple[int, int, int, int]] = {}
    for event in seen.executed(Insn.CPUID):
        after = event.after
        if after and not event.tampered and event.before["rcx"] & 0xFFFF_FFFF == 0:
            leaves.setdefault(event.leaf, (after["rax"], after["rbx"], after["rcx"], after["rdx"]))
    return Cpuid.of(leaves).over(LEAST)


def of_cpuid_program(seen: Seen) -> Cpuid:
    """What the probe read by :data:`harness.spec.processor.PROGRAM`, as far as it came."""
    names = ("rax", "rbx", "rcx", "rdx")
    steps = dict(zip(LEAVES, seen.steps, strict=False))
    registers = {leaf: [step.registers[name] for name in names] for leaf, step in steps.items()}
    return Cpuid.of({leaf: (a, b, c, d) for leaf, (a, b, c, d) in registers.items()})


def of_program(seen: Seen, cpuid: Cpuid) -> Iterator[Vmrun]:
    """Every VMRUN of a program in 64-bit mode whose VMCB was watched."""
    for number, step in enumerate(seen.program.steps):
        if step.vmcb is None or number == 0 or number > len(seen.steps) or step.mode is not StepMode.LONG:
            continue
        before = seen.steps[number - 1]
        host = Processor(
            cpuid,
            efer=before.efer,
            cpl=step.cpl,
            rflags=2,
            vm_hsave_pa=before.vm_hsave_pa,
            address_bits=32 if _SHORT in step.code else 64,
        )
        alone = step.code in (_SHORT, Insn.VMRUN.opcodes[0])  # other code sets rAX itself
        rax = step.registers.get("rax", step.vmcb) if alone else step.vmcb
        vmcb = Vmcb(seen.memory(step.vmcb, _PAGE, number - 1))
        after = seen.vmrun(step.name) if number < len(seen.steps) else None
        yield Vmrun(State(host, rax, vmcb), _ended(after), step.name)


def _ended(after: VmrunSeen | None) -> Outcome | None:
    if after is None:
        return None
    exited = after.before["exitcode"] != after.after["exitcode"]  # a fault of the step then came behind VMRUN
    if after.step.vector is not None and not exited:
        return {_UD: Outcome.UD, _GP: Outcome.GP}.get(after.step.vector)
    return Outcome.INVALID if after.after.refused else Outcome.RUNS
