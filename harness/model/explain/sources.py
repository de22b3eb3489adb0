"""Where a VMRUN to be explained comes from: bytes in a file, a hypervisor that is booted, a machine that runs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import build
from harness.boot import Boot, Insn
from harness.deadline import Deadline
from harness.engines.base import Engine
from harness.errors import SvmconfError
from harness.lab import runner
from harness.machine.vmcb import Vmcb
from harness.model.cpuid import LEAST, Cpuid
from harness.model.explain import evidence
from harness.model.explain.attached import Attached, connect
from harness.model.explain.evidence import Vmrun
from harness.model.explain.words import Explanation, explain
from harness.model.state import HOST, State
from harness.model.verdict import Outcome, judge
from harness.observation import Observation
from harness.run import Run
from harness.spec import processor


@dataclass(frozen=True)
class Known:
    """What the caller knows of the processor, over what can be found out: CPUID, and the width of an address."""

    cpuid: Cpuid | None = None
    physical_bits: int | None = None

    def of(self, vmrun: Vmrun) -> Vmrun:
        """A VMRUN with it."""
        host = replace(vmrun.state.host, physical_bits=self.physical_bits)
        return replace(vmrun, state=replace(vmrun.state, host=host))


def of_file(file: Path, known: Known, rax: int | None = None, **registers: int) -> Explanation:
    """Judge the bytes of a file. The host is as it should be but for ``registers`` (by their names in Processor)."""
    data = file.read_bytes()
    if len(data) != 0x1000:
        raise SvmconfError(f"{file} has {len(data)} bytes; a VMCB has 4096")
    host = replace(HOST, cpuid=known.cpuid or LEAST, **registers)
    return explain(known.of(Vmrun(State(host, 0x1000 if rax is None else rax, Vmcb(data)), None)))


def of_hypervisor(run: Run, guest: str | None, known: Known) -> Explanation:
    """Boot a run's hypervisor on its engine's first CPU model and explain the VMRUN that fails, if one does."""
    manifest = run.built_manifest()
    if manifest.refuses(Boot(guest=guest)):
        raise SvmconfError(f"{manifest.name} offers no guest {guest!r}", f"it offers: {', '.join(manifest.guests)}")
    engine, cpu = run.engine, first_cpu(run)
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        seen = engine.observe(manifest, Boot(guest=guest), cpu, Path(folder))
    return of_observation(seen, replace(known, cpuid=known.cpuid or _cpuid_there(engine, cpu, seen)))


def first_cpu(run: Run) -> str:
    """The first of the CPU models chosen; raise :class:`SvmconfError` when there is none."""
    run.check_choice()
    return run.cpus(run.engine)[0]


def probed(engine: Engine, cpu: str) -> Cpuid:
    """What CPUID reports there, read by the probe."""
    build.probe()
    with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
        return evidence.of_cpuid_program(runner.run(engine, processor.PROGRAM, cpu, Path(folder)))


def _cpuid_there(engine: Engine, cpu: str, seen: Observation) -> Cpuid:
    """What the probe reads; where it cannot be built, what the hypervisor asked."""
    try:
        return probed(engine, cpu)
    except SvmconfError:
        return evidence.asked(seen)


def of_observation(seen: Observation, known: Known) -> Explanation:
    """The first VMRUN that failed, or must have; else the first that breaks a rule; else all of them."""
    if seen.ended.engine_at_fault:
        raise SvmconfError(f"{seen.engine} broke: {seen.ended}")
    vmruns = [known.of(vmrun) for vmrun in evidence.of_boot(seen, known.cpuid)]
    if not vmruns:
        hint = "VMRUNs that are not in the image's file are not seen: --gdb looks for them in memory"
        raise SvmconfError(f"no VMRUN was executed: the machine {seen.ended}", hint)
    verdicts = [judge(vmrun.state) for vmrun in vmruns]
    failed = [n for n, one in enumerate(vmruns) if (one.did is not None and one.did.fails) or verdicts[n].outcome.fails]
    wrong = [n for n, verdict in enumerate(verdicts) if verdict.violations]
    for n in failed[:1] or wrong[:1]:
        return explain(vmruns[n], judged=n + 1, note=_note(vmruns[n], verdicts[n].outcome, seen))
    # What a guest ran on was legal, whatever could not be judged.
    doubtful = [n for n, one in enumerate(vmruns) if verdicts[n].doubts and one.did is not Outcome.RUNS]
    if doubtful:
        return explain(
            vmruns[doubtful[0]], judged=doubtful[0] + 1, note=_note(vmruns[doubtful[0]], Outcome.UNKNOWN, seen)
        )
    given_up = seen.given_up(Insn.VMRUN)
    note = f"watched no longer: {'; '.join(given_up)}" if given_up else ""
    return Explanation(outcome=Outcome.RUNS.value, judged=len(vmruns), note=note, where=vmruns[0].where)


def _note(vmrun: Vmrun, must: Outcome, seen: Observation) -> str:
    did, engine = vmrun.did, f"{seen.engine} ({seen.engine_version}, CPU {seen.cpu})"
    if did is Outcome.RUNS and must.fails:
        return f"{engine} ran the guest all the same: it does not check this"
    if did is not None and did.fails and not must.fails:
        return f"{engine} refused it with {did}, and the model knows no reason why"
    return ""


def of_machine(where: str, deadline: Deadline, known: Known, places: Sequence[int] = ()) -> Explanation:
    """Attach to a gdbstub and explain the first VMRUN that breaks a rule; until the deadline, all are legal.

    ``places`` are the addresses of VMRUNs that are not in memory yet.
    """
    last: Vmrun | None = None
    count = 0
    with Attached(connect(where)) as machine:
        for vmrun in machine.vmruns(deadline, places, known.cpuid):
            count += 1
            last = known.of(vmrun)
            if judge(last.state).doubts:  # ask only where it matters
                state = last.state
                last = replace(last, state=replace(state, host=replace(state.host, cpuid=machine.ask_cpuid())))
            if judge(last.state).violations:
                return explain(last, judged=count)
    if last is None:
        hint = "one that has failed already cannot be seen: let the machine begin again, or use --hypervisor"
        raise SvmconfError("no VMRUN was executed in time", hint)
    return explain(last, judged=count)
