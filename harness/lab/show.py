"""Observations of programs as text for a person: step by step, and where engines differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.lab.program import Step, StepMode
from harness.lab.seen import Seen, StepSeen, VmrunSeen
from harness.machine.vmcb import FIELDS
from harness.model import exits

_MEANT = {6: "#UD", 8: "#DF", 10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF"}


def text(seen: Seen) -> str:
    """The whole observation, some lines a step."""
    return f"{seen.engine} {seen.engine_version}, {seen.cpu}: the machine {seen.ended}\n{steps(seen)}"


def steps(seen: Seen) -> str:
    """What each step did, the same for engines that did the same."""
    lines: list[str] = []
    for number, step in enumerate(seen.program.steps[: len(seen.steps) + 1]):
        lines.append(f"step {number}: {_asked(step)}")
        lines += [f"    {line}" for line in came(seen, number)] if number < len(seen.steps) else ["    never ended"]
    return "\n".join(lines)


def _asked(step: Step) -> str:
    where = "" if step.mode is StepMode.LONG else f" in {step.mode}"
    given = " ".join(f"{name}={value:#x}" for name, value in step.registers.items())
    return f"{step.name or step.code.hex(' ')}{where} at CPL {step.cpl} {given}".rstrip()


def came(seen: Seen, number: int) -> Iterator[str]:
    """What one step came to, in lines."""
    step, did = seen.program.steps[number], seen.steps[number]
    yield outcome(did) if step.vmcb is None or did.vector is not None else exit_text(seen.vmrun_at(number))
    if changed := _registers(step, did):
        yield changed
    if step.vmcb is not None:
        fields = seen.vmrun_at(number).changed()
        exit_fields = ("exitcode", "exitinfo1", "exitinfo2", "exitintinfo")
        for name in sorted(fields, key=lambda name: FIELDS[name].offset):
            if name not in exit_fields:
                old, new = fields[name]
                yield f"{name}: {old:#x} -> {new:#x}"
    inside = range(step.vmcb, step.vmcb + 0x1000) if step.vmcb is not None else range(0)
    for address, value in did.changes.items():
        if address not in inside:
            yield f"[{address:#x}] = {value:#018x}"


def outcome(did: StepSeen) -> str:
    """Whether it ran to its end, or the fault that it raised."""
    if did.vector is None:
        return "ran"
    fault = _MEANT.get(did.vector, f"vector {did.vector}")
    more = f", CR2 {did.cr2:#x}" if did.vector == 14 else ""
    return f"{fault}, error code {did.error:#x}, at +{did.rip:#x}{more}"


def exit_text(vmrun: VmrunSeen) -> str:
    """An exit code by name, with what EXITINFO and EXITINTINFO say."""
    if isinstance(vmrun.exit, str):
        return vmrun.exit
    said = [f"VMEXIT_{exits.name(vmrun.exit)}", exits.describe(vmrun.exit, vmrun.info1, vmrun.info2)]
    interrupted = vmrun.after["exitintinfo"]
    if interrupted:
        said.append(f"EXITINTINFO {interrupted:#x}")
    return ", ".join(filter(None, said))


def _registers(step: Step, did: StepSeen) -> str:
    changed = {n: v for n, v in did.registers.items() if v != step.registers.get(n, 0) and n != "rsp"}
    return " ".join(f"{name}={value:#x}" for name, value in changed.items())


def differences(seen: Mapping[str, Seen]) -> str:
    """Where engines differ, step by step; engines that saw the same stand together."""
    programs = [one.program for one in seen.values()]
    lines: list[str] = []
    for number in range(max((len(program.steps) for program in programs), default=0)):
        groups: dict[str, list[str]] = {}
        for name, one in seen.items():
            shown = "; ".join(came(one, number)) if number < len(one.steps) else f"never ended: {one.ended}"
            groups.setdefault(shown, []).append(name)
        if len(groups) > 1:
            lines.append(f"step {number}: {_asked(programs[0].steps[number])}")
            lines += [f"    {', '.join(names)}: {shown}" for shown, names in groups.items()]
    return "\n".join(lines) or f"{', '.join(seen)}: the same"
