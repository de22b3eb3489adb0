"""Every observation that differs from a given one in one thing: a bit of a register, a fault's vector, a missing event.

The order is from the likely to the unlikely, since whoever audits stops at the first change that turns a case red.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from harness.boot import Insn
from harness.lab.seen import Seen, StepSeen
from harness.machine.ending import Ending, How
from harness.machine.registers import Registers
from harness.machine.vmcb import FIELDS
from harness.msr import Msr
from harness.observation import Access, Event, Observation, Tried

Change = tuple[str, Any]
_BITS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 14, 16, 19, 31, 32, 47, 51, 63)
_FAULTS = (None, 6, 13)
_MSRS = (Msr.EFER, Msr.VM_CR, Msr.VM_HSAVE_PA, Msr.SMM_CTL, Msr.SMM_KEY)


def changes(of: Observation | Seen) -> Iterator[tuple[str, Observation | Seen]]:
    """What was changed, and the observation with it."""
    yield from _of_boot(of) if isinstance(of, Observation) else _of_program(of)


def _with(model: BaseModel, **update: object) -> Any:
    return model.model_copy(update=update)


def _of_program(seen: Seen) -> Iterator[Change]:
    yield from _of_exits(seen)
    for number, step in enumerate(seen.steps):
        for what, changed in (*_of_watched(seen, number), *_of_step(step)):
            steps = [*seen.steps[:number], changed, *seen.steps[number + 1 :]]
            yield f"step {number}: {what}", _with(seen, steps=steps)
    for how in _endings(seen.ended):
        yield f"ended: {how}", _with(seen, ended=how)


def _of_exits(seen: Seen) -> Iterator[Change]:
    """A VMRUN left EXITCODE as it was: tried first, since most cases hang on exits, wherever in the program."""
    for number, step in enumerate(seen.steps):
        vmcb = seen.program.steps[number].vmcb
        at = None if vmcb is None else vmcb + FIELDS["exitcode"].offset
        if at in step.changes:
            others = {address: value for address, value in step.changes.items() if address != at}
            steps = [*seen.steps[:number], _with(step, changes=others), *seen.steps[number + 1 :]]
            yield f"step {number}: EXITCODE unchanged", _with(seen, steps=steps)


def _of_step(step: StepSeen) -> Iterator[Change]:
    for vector in _FAULTS:
        if vector != step.vector:
            yield f"vector {vector}", _with(step, vector=vector)
    yield "error code", _with(step, error=step.error ^ 1)
    yield "RIP", _with(step, rip=step.rip + 1)
    for name in ("efer", "vm_hsave_pa", "rflags", "cr2"):
        for bit in _BITS:
            yield f"{name} bit {bit}", _with(step, **{name: getattr(step, name) ^ 1 << bit})
    for name, value in step.registers.items():
        for bit in _BITS:
            yield f"{name} bit {bit}", _with(step, registers={**step.registers, name: value ^ 1 << bit})


def _of_watched(seen: Seen, number: int) -> Iterator[Change]:
    """What a step changed in memory did not change, or became another value; of a VMCB any field changed."""
    step, vmcb = seen.steps[number], seen.program.steps[number].vmcb
    for address, value in step.changes.items():
        others = {at: kept for at, kept in step.changes.items() if at != address}
        yield f"[{address:#x}] unchanged", _with(step, changes=others)
        for bit in _BITS:
            yield f"[{address:#x}] bit {bit}", _with(step, changes={**step.changes, address: value ^ 1 << bit})
    if vmcb is None or vmcb not in seen.program.watches:
        return
    page = seen.memory(vmcb, 0x1000, number)
    for name, field in FIELDS.items():
        at = field.offset & ~7
        value = int.from_bytes(page[at : at + 8], "little") ^ 1 << 8 * (field.offset - at)
        yield f"{name} changed", _with(step, changes={**step.changes, vmcb + at: value})


def _of_boot(seen: Observation) -> Iterator[Change]:
    for outcome in ("changed", None):
        yield f"outcome {outcome}", _with(seen, outcome=outcome)
    for how in _endings(seen.ended):
        yield f"ended: {how}", _with(seen, ended=how)
    for name, tried in seen.witness.items():
        for what, changed in _of_tried(tried):
            yield f"witness {name}: {what}", _with(seen, witness={**seen.witness, name: changed})
    yield from _of_guests(seen)
    yield from _of_accesses(seen)
    yield from _of_mappings(seen)
    yield from _of_host_mappings(seen)
    yield from _of_maps(seen)
    yield from _of_constants(seen)
    yield from _of_console(seen)
    yield from _of_repeated_writes(seen)
    yield from _of_trace(seen)
    for which in ("final", "host", "host_again"):
        registers = getattr(seen, which)
        if registers is not None:
            for what, changed in _of_registers(registers):
                yield f"{which}: {what}", _with(seen, **{which: changed})
    yield "ram_size 0", _with(seen, ram_size=0)
    yield "no tables", _with(seen, tables=[])


def _endings(ended: Ending) -> Iterator[Ending]:
    for how in (How.TRIPLE_FAULT, How.HUNG, How.EXITED):
        if how is not ended.how:
            yield Ending(how=how)
    if ended.code is not None:
        yield Ending(how=ended.how, code=ended.code ^ 1)


def _of_tried(tried: Tried) -> Iterator[Change]:
    for vector in _FAULTS:
        if vector != tried.vector:
            yield f"vector {vector}", _with(tried, vector=vector)
    yield "error code", _with(tried, error=tried.error ^ 1)
    for bit in _BITS:
        yield f"value bit {bit}", _with(tried, value=tried.value ^ 1 << bit)


def _of_guests(seen: Observation) -> Iterator[Change]:
    for number, guest in enumerate(seen.guests):
        for name, tried in guest.witness.items():
            for what, changed in _of_tried(tried):
                witness = {**guest.witness, name: changed}
                guests = [*seen.guests[:number], _with(guest, witness=witness), *seen.guests[number + 1 :]]
                yield f"guest {number}, witness {name}: {what}", _with(seen, guests=guests)
        for place, mapping in enumerate(guest.mappings):
            changed = replace(mapping, host=guest.vmcb)
            mappings = [*guest.mappings[:place], changed, *guest.mappings[place + 1 :]]
            guests = [*seen.guests[:number], _with(guest, mappings=mappings), *seen.guests[number + 1 :]]
            yield f"guest {number}, mapping {place} leads to its VMCB", _with(seen, guests=guests)


def _of_accesses(seen: Observation) -> Iterator[Change]:
    at = seen.guarded[0] if seen.guarded else seen.hsave or 0
    yield "an access to the guarded page", _with(seen, accesses=[*seen.accesses, Access(address=at, rip=0, where="?")])
    yield "nothing guarded", _with(seen, guarded=None)


def _of_mappings(seen: Observation) -> Iterator[Change]:
    target = seen.hsave
    for number, mapping in enumerate(seen.mappings if target is not None else ()):
        assert target is not None
        changed = replace(mapping, host=target & ~0xFFF)
        mappings = [*seen.mappings[:number], changed, *seen.mappings[number + 1 :]]
        yield f"mapping {number} leads to the host save area", _with(seen, mappings=mappings)


def _of_host_mappings(seen: Observation) -> Iterator[Change]:
    for number, mapping in enumerate(seen.host_mappings):
        for what, changed in (
            ("is not there", []),
            ("is read-only", [replace(mapping, writable=False)]),
            ("is uncached", [replace(mapping, pat=2)]),
        ):
            mappings = [*seen.host_mappings[:number], *changed, *seen.host_mappings[number + 1 :]]
            yield f"host mapping {number} {what}", _with(seen, host_mappings=mappings)


def _of_maps(seen: Observation) -> Iterator[Change]:
    if seen.msrpm is not None:
        yield "the MSRPM intercepts nothing", _with(seen, msrpm=bytes(len(seen.msrpm)))
        yield "the MSRPM is not known", _with(seen, msrpm=None)
    if seen.iopm is not None:
        yield "the IOPM intercepts nothing", _with(seen, iopm=bytes(len(seen.iopm)))


def _of_constants(seen: Observation) -> Iterator[Change]:
    for number, constant in enumerate(seen.constants):
        constants = [*seen.constants[:number], _with(constant, after=""), *seen.constants[number + 1 :]]
        yield f"{constant.name} changed", _with(seen, constants=constants)


def _of_console(seen: Observation) -> Iterator[Change]:
    """A word that the guest did not say, a number that it said otherwise, a warning of its kernel."""
    if seen.boot.linux is None:
        return
    for line in dict.fromkeys(line for line in seen.console.splitlines() if line.startswith("@linux ")):
        yield f"without {line!r}", _with(seen, console=seen.console.replace(line, ""))
        other = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), line)
        yield f"{other!r} for {line!r}", _with(seen, console=seen.console.replace(line, other))
    warned = seen.console.replace("@linux log end", "<4>[    1.000000] a warning\n@linux log end")
    yield "a warning in the kernel's log", _with(seen, console=warned)


def _of_repeated_writes(seen: Observation) -> Iterator[Change]:
    """A write of an MSR that writes what the one before it wrote, whoever executed that."""
    last: dict[int, Event] = {}
    for number, event in enumerate(seen.trace):
        if event.insn is not Insn.WRMSR:
            continue
        before = last.get(event.msr)
        last[event.msr] = event
        if before is not None and before.written != event.written:
            value = {name: before.before[name] for name in ("rax", "rdx")}
            changed = _with(event, before={**event.before, **value})
            trace = [*seen.trace[:number], changed, *seen.trace[number + 1 :]]
            yield f"write {number} of MSR {event.msr:#x} as the one before", _with(seen, trace=trace)


def _of_trace(seen: Observation) -> Iterator[Change]:
    def instead(number: int, *events: Event) -> Observation:
        changed: Observation = _with(seen, trace=[*seen.trace[:number], *events, *seen.trace[number + 1 :]])
        return changed

    for number, event in enumerate(seen.trace):
        at = f"event {number} ({event.insn})"
        yield f"{at} missing", instead(number)
        for insn in Insn:
            if insn is not event.insn:
                yield f"{at} is {insn}", instead(number, _with(event, insn=insn))
        for what, changed in _of_event(event):
            yield f"{at}: {what}", instead(number, changed)


def _of_event(event: Event) -> Iterator[Change]:
    yield "CPL", _with(event, cpl=3 - event.cpl)
    if event.insn in (Insn.RDMSR, Insn.WRMSR):
        for msr in _MSRS:
            yield f"MSR {msr.name}", _with(event, before={**event.before, "rcx": int(msr)})
    for page in ("vmcb", "vmcb_after"):
        data = getattr(event, page)
        if data is not None:
            for what, changed in _of_vmcb(data):
                yield f"{page} {what}", _with(event, **{page: changed})
    for when in ("before", "after"):
        registers = getattr(event, when)
        for name, value in registers.items():
            for bit in _BITS:
                yield f"{name} {when}, bit {bit}", _with(event, **{when: {**registers, name: value ^ 1 << bit}})


def _of_vmcb(data: bytes) -> Iterator[Change]:
    for name, field in FIELDS.items():
        value = int.from_bytes(data[field.offset : field.offset + field.size], "little")
        others = {value ^ 1 << bit for bit in range(8 * field.size)} | {0, (1 << 8 * field.size) - 1}
        for other in sorted(others - {value}):
            changed = data[: field.offset] + other.to_bytes(field.size, "little") + data[field.offset + field.size :]
            yield f"{name} = {other:#x}", changed


def _of_registers(registers: Registers) -> Iterator[Change]:
    for name, (base, limit, attributes) in registers.loaded.items():
        for what, other in (("base", (base + 1, limit, attributes)), ("attributes", (base, limit, attributes ^ 1))):
            yield f"another {what} of {name}", _with(registers, loaded={**registers.loaded, name: other})
    for name, value in registers.values.items():
        for bit in _BITS:
            yield f"{name} bit {bit}", _with(registers, values={**registers.values, name: value ^ 1 << bit})
