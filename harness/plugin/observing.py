"""Observing: the fixtures that hand a case what its boot or program showed, if it can be had."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from harness import ledger
from harness.boot import Fault
from harness.cases import Absent, Boots, Executes, NotRun
from harness.errors import EngineError
from harness.guests import files
from harness.lab.seen import Seen
from harness.machine.ending import How
from harness.machine.records import Record
from harness.observation import Observation
from harness.plugin.noted import EVIDENCE, JUDGES, PROGRAM, RUN, WRITTEN, requirements_of, writer
from harness.run import Setting
from harness.spec import catalogue, processor


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Iterator[Observation]:
    """The observation of the boot that the case's ``@boots`` asks for."""
    setting = _possible(request)
    boots = setting.what
    assert isinstance(boots, Boots)
    run = request.config.stash[RUN]
    boot = run.choose(boots.variants[setting.variant])
    if boot.as_often_as_asked and boot.count is None:
        pytest.skip(f"long, so only when asked for: svmconf run --guest {boot.guest} --operations 1000000")
    manifest = run.manifest
    if lack := manifest.refuses(boot):
        if boot.any_guest:
            boot = boot.model_copy(update={"guest": None, "count": None})
        else:
            pytest.skip(f"the manifest of {manifest.name} {lack}")
    engine = run.engines[setting.engine]
    if boot.linux is not None and (lack := files.missing(boot.linux)):
        pytest.skip(lack)
    if lack := engine.lacks(boot):
        pytest.skip(f"{engine.name} {lack}")
    if (dear := engine.dear(boot)) and request.config.option.guest != boot.guest:
        pytest.skip(f"{engine.name} {dear}: svmconf run --guest {boot.guest} --engine {engine.name}")
    _applies(request.node, setting, boot.faults)
    for outcome in boots.outcomes:
        if not manifest.knows(outcome):
            pytest.skip(f"the manifest of {manifest.name} does not say how the outcome {outcome!r} shows")
    observation = _judged(request.node, run.observe(engine, boot, setting.cpu)).observation
    assert observation is not None
    if observation.ended.engine_at_fault:
        raise EngineError(f"{engine.name}: {observation.ended}")
    if boots.guest_runs and not observation.guest_ran:
        says = next((f"; it says: {_words(record)}" for record in observation.of_kind("vmrun.refused")), "")
        raise NotRun(f"no guest ran: the machine {observation.ended}, outcome {observation.outcome or 'unknown'}{says}")
    yield observation


@pytest.fixture
def ran(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """The observation of the program that the case's ``@executes`` asks for."""
    setting = _possible(request)
    executes = setting.what
    assert isinstance(executes, Executes)
    name, program = executes.variants[setting.variant]
    run = request.config.stash[RUN]
    engine = run.engines[setting.engine]
    if why := run.lacks_probe():
        pytest.skip(f"the probe cannot be built: {why}")
    _applies(request.node, setting, program.faults)
    result = _judged(request.node, run.execute(engine, name, program, setting.cpu)).seen
    assert result is not None
    if result.ended.engine_at_fault:
        raise EngineError(f"{engine.name}: {result.ended}")
    if result.ended.how is not How.EXITED and not result.steps:
        raise EngineError(f"the probe did not run: {result.ended}")
    yield result


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call() -> Generator[None, object, object]:
    """Skip a case that finds its feature absent, with the CPUID bit that it names."""
    try:
        return (yield)
    except Absent as absent:
        pytest.skip(str(absent))


def _possible(request: pytest.FixtureRequest) -> Setting:
    """The case's setting, unless no chosen CPU model will do, or an earlier verdict stands."""
    setting: Setting = request.param
    earlier = request.config.stash[RUN].repeats(request.node.nodeid)
    if earlier is not None:
        if earlier.verdict is ledger.Verdict.SKIP:
            pytest.skip(earlier.reason)
        raise NotRun(f"not observed then: {earlier.verdict}: {earlier.reason}")
    if not setting.cpu:
        pytest.skip(f"none of the CPU models will do, it takes {setting.what.cpus.value}")
    return setting


def _applies(item: pytest.Item, setting: Setting, faults: tuple[Fault, ...]) -> None:
    """Note which of the case's requirements apply to the processor; skip where none does, naming the CPUID bit."""
    run = item.config.stash[RUN]
    engine = run.engines[setting.engine]
    asked: list[ledger.Evidence] = []

    def ask() -> Seen:
        if not asked:
            asked.append(_written(item, run.execute(engine, "cpuid", processor.PROGRAM, setting.cpu)))
        assert asked[0].seen is not None
        return asked[0].seen

    model, known = engine.cpu(setting.cpu), catalogue.load()
    lacks = {n: processor.missing(known[n].feature_gate, model, ask, faults) for n in requirements_of(item)}
    item.stash[JUDGES] = [name for name, lack in lacks.items() if not lack]
    if not item.stash[JUDGES]:
        if asked:
            item.stash[EVIDENCE], item.stash[PROGRAM] = asked[0].id, asked[0].program
        names: dict[str, list[str]] = {}
        for name, lack in lacks.items():
            names.setdefault(lack, []).append(name)
        pytest.skip("; ".join(f"{lack}: no {', '.join(those)} there" for lack, those in names.items()))


def _words(record: Record) -> str:
    """A record's fields for a person."""
    return ", ".join(f"{k} {v:#x}" if isinstance(v, int) else f"{k} {v}" for k, v in record.fields.items())


def _judged(item: pytest.Item, evidence: ledger.Evidence) -> ledger.Evidence:
    """Note what this case judges, and write it down."""
    item.stash[EVIDENCE] = evidence.id
    item.stash[PROGRAM] = evidence.program
    return _written(item, evidence)


def _written(item: pytest.Item, evidence: ledger.Evidence) -> ledger.Evidence:
    """Write evidence down when this worker meets it for the first time."""
    written = item.config.stash.setdefault(WRITTEN, set())
    if evidence.id not in written:
        writer(item.config).write(evidence)
        written.add(evidence.id)
    return evidence
