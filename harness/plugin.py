"""The pytest plugin: crosses cases with engines and CPU models, runs them, keeps the ledger.

The ladder of what a case is given:

====================  ====================================================  =========================
what                  one for each                                          chosen by
====================  ====================================================  =========================
manifest              run                                                   ``--hypervisor --defect``
setting               engine x CPU model x variant of a case                ``--engine --cpu``, ``@boots``
``seen``, ``ran``     distinct boot or program: one machine, run to its end   the setting
====================  ====================================================  =========================
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import circumstances, ledger, paths, replay, seed
from harness.boot import Fault
from harness.cases import Absent, Boots, Executes, NotRun
from harness.errors import EngineError, SvmconfError
from harness.guests import files
from harness.lab.seen import Seen
from harness.machine.ending import How
from harness.machine.process import die_with
from harness.machine.records import Record
from harness.observation import Observation
from harness.run import STRESS, Run, Setting
from harness.shard import Shard
from harness.spec import catalogue, claims, expectations, processor

pytest.register_assert_rewrite("conformance")  # its helpers too, so that a failed assertion says what it saw

_RUN = pytest.StashKey[Run]()
_EVIDENCE = pytest.StashKey[str]()
_JUDGES = pytest.StashKey[list[str]]()
_PROGRAM = pytest.StashKey[str]()
_EXPECTED = pytest.StashKey[str]()
_SEED = pytest.StashKey[int]()
_WRITTEN = pytest.StashKey[set[str]]()
_ELSEWHERE = pytest.StashKey[list[str]]()
_TROUBLE = pytest.StashKey[str]()
_WRITER = pytest.StashKey[ledger.Writer]()
LEDGER = pytest.StashKey[ledger.Ledger]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the conformance suite."""
    group = parser.getgroup("svmconf")
    group.addoption(
        "--engine", default="auto", help="auto, tcg, kvm, names such as qemu-10.0,bochs-3.1, or all (default: auto)"
    )
    group.addoption("--cpu", default="", help="CPU models, separated by ';' or, without features, ','; or 'all'")
    group.addoption(
        "--hypervisor", default="svmconf", help="a manifest: one of ours by name, or a path to a .toml file"
    )
    group.addoption("--defect", default="", help="build our hypervisor with this seeded defect")
    group.addoption("--guest", default="", metavar="G", help="only cases that boot this guest")
    group.addoption(
        "--stress", type=float, default=STRESS, metavar="S", help=f"seconds a Linux guest is kept busy ({STRESS:g})"
    )
    group.addoption("--replay", default="", metavar="LEDGER", help="judge what this ledger holds, without booting")
    group.addoption("--shard", default="", metavar="I/N", help="only part I of N, split by a hash of the test's id")
    group.addoption("--unfinished", action="store_true", help="only what the run of --run-name has no verdict for")
    group.addoption("--run-name", default="", help="the run's folder (default: the time)")
    group.addoption("--seed", default="", metavar="N", help="what is drawn at random hangs on it (default: a new one)")
    group.addoption("--out", default=str(paths.OUT), help="folder for runs (default: reports/out)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks and name the run; workers of xdist take the run's name from the controller."""
    if hasattr(config, "workerinput"):
        die_with(os.getppid())  # a controller that was killed leaves no worker, and so no engine
    for mark in ("requirement(*ids)", "boots(what)", "executes(what)", "slow: seconds; -m 'not slow' leaves it out"):
        config.addinivalue_line("markers", mark)
    option = config.option
    name = (
        getattr(config, "workerinput", {}).get("svmconf_run")
        or option.run_name
        or circumstances.now().replace(":", "") + f"-{os.getpid()}"
    )
    try:
        shard = Shard.parse(option.shard) if option.shard else None
        drawn = seed.parse(getattr(config, "workerinput", {}).get("svmconf_seed") or option.seed)
    except SvmconfError as error:
        raise pytest.UsageError(str(error)) from error
    folder = Path(option.out).resolve() / name
    if option.replay:
        try:
            config.stash[_RUN] = recorded = replay.of(Path(option.replay), option.hypervisor, folder)
            drawn = recorded.seed if recorded.seed is not None else drawn
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error
    else:
        config.stash[_RUN] = Run(
            option.engine, option.cpu, option.hypervisor, option.defect, folder, shard, option.stress
        )
    config.stash[_SEED] = drawn
    config.pluginmanager.register(seed.Seeding(drawn), "svmconf-seeding")
    if config.getoption("numprocesses", None):
        # In a worker these would be internal errors; here they are one line.
        try:
            config.stash[_RUN].check()
            config.stash[_RUN].make_folder()
            wrong = _of_suite(config)
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error
        if wrong:
            raise pytest.UsageError("\n".join(wrong))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist the run's name, and its seed."""
    node.workerinput["svmconf_run"] = node.config.stash[_RUN].folder.name
    node.workerinput["svmconf_seed"] = str(node.config.stash[_SEED])


# Crossing cases with settings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each setting that the case's ``@boots`` or ``@executes`` and the command line amount to."""
    run = metafunc.config.stash[_RUN]
    for fixture, mark in (("seen", "boots"), ("ran", "executes")):
        if fixture in metafunc.fixturenames:
            marker = metafunc.definition.get_closest_marker(mark)
            if marker is None:
                raise pytest.UsageError(f"{metafunc.definition.nodeid} uses `{fixture}` without @{mark}")
            try:
                settings = run.settings(marker.args[0], metafunc.definition.nodeid)
            except SvmconfError as error:
                raise pytest.UsageError(str(error)) from error
            metafunc.parametrize(fixture, settings, indirect=True, ids=[setting.id for setting in settings])


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Check every case, let ``-k`` and the like choose among them, and keep this shard's."""
    _check(config, items)
    yield
    if guest := config.option.guest:
        others = [item for item in items if not _boots_guest(item, guest)]
        items[:] = [item for item in items if _boots_guest(item, guest)]
        config.hook.pytest_deselected(items=others)
    if config.option.unfinished:
        done = ledger.done(config.stash[_RUN].folder)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]
    shard = config.stash[_RUN].shard
    if shard is not None:
        others = [item for item in items if not shard.holds(item.nodeid)]
        items[:] = [item for item in items if shard.holds(item.nodeid)]
        config.hook.pytest_deselected(items=others)
        config.stash[_ELSEWHERE] = sorted(item.nodeid for item in others if _setting(item) is not None)


def _check(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hold every case against the catalogue, and mark known deviations of the engine as strictly expected."""
    run = config.stash[_RUN]
    cases = [item for item in items if _setting(item) is not None or claims.SUITE in item.path.parents]
    named = {item.nodeid.partition("[")[0]: _requirements(item) for item in cases}
    whole = claims.is_whole((item.path for item in cases), config.args)
    try:
        wrong = claims.complaints(named, catalogue.load(), whole=whole)
    except SvmconfError as error:
        raise pytest.UsageError(str(error)) from error
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
    for item in cases:
        setting = _setting(item)
        if setting is None:
            raise pytest.UsageError(f"{item.nodeid} judges nothing: give it @boots or @executes")
        item.extra_keyword_matches.update(_requirements(item))  # -k SVM-15.4-003
        engine = run.engines[setting.engine]
        try:
            known = expectations.load(engine.name, engine.family)
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error
        name: str = item.originalname  # type: ignore[attr-defined]
        for deviation in known:
            if deviation.applies(name, engine.version, setting.cpu, setting.variant_name):
                raises = EngineError if deviation.crashes else NotRun if deviation.unreached else AssertionError
                item.add_marker(pytest.mark.xfail(raises=raises, strict=True, reason=str(deviation)))
                item.stash.setdefault(_EXPECTED, str(deviation))


def _of_suite(config: pytest.Config) -> list[str]:
    """What is wrong between the suite and the catalogue, found without collecting: what a worker finds is not shown."""
    if config.rootpath != paths.ROOT:
        return []
    return claims.complaints({case.id: case.requirements for case in claims.suite()}, catalogue.load(), whole=True)


def _requirements(item: pytest.Item) -> list[str]:
    return list(dict.fromkeys(name for mark in item.iter_markers("requirement") for name in mark.args))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what is planned, before anything runs."""
    planned = [item.nodeid for item in session.items if _setting(item) is not None]
    elsewhere = session.config.stash.get(_ELSEWHERE, [])
    if (planned or elsewhere) and not session.config.option.collectonly:
        try:
            writer = _writer(session.config)
            writer.write(_header(session.config))
            writer.write(ledger.Plan(cases=sorted(planned), elsewhere=elsewhere))
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error


def _header(config: pytest.Config) -> ledger.Header:
    option = config.option
    asked = ledger.Asked(
        engine=option.engine,
        cpu=option.cpu,
        hypervisor=option.hypervisor,
        defect=option.defect,
        keyword=option.keyword,
        marks=option.markexpr,
        shard=option.shard,
        guest=option.guest,
        stress=option.stress,
    )
    return config.stash[_RUN].header().model_copy(update={"asked": asked, "seed": config.stash[_SEED]})


# Running


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Iterator[Observation]:
    """The observation of the boot that the case's ``@boots`` asks for."""
    setting = _possible(request)
    boots = setting.what
    assert isinstance(boots, Boots)
    run = request.config.stash[_RUN]
    boot = run.choose(boots.variants[setting.variant])
    manifest = run.manifest
    if not manifest.offers(boot):
        if boot.any_guest:
            boot = boot.model_copy(update={"guest": None, "count": None})
        else:
            pytest.skip(f"the manifest of {manifest.name} offers no guest {boot.guest!r}")
    engine = run.engines[setting.engine]
    if boot.linux is not None and (lack := files.missing(boot.linux)):
        pytest.skip(lack)
    if lack := engine.lacks(boot):
        pytest.skip(f"{engine.name} {lack}")
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
    run = request.config.stash[_RUN]
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
    earlier = request.config.stash[_RUN].repeats(request.node.nodeid)
    if earlier is not None:
        if earlier.verdict is ledger.Verdict.SKIP:
            pytest.skip(earlier.reason)
        raise NotRun(f"not observed then: {earlier.verdict}: {earlier.reason}")
    if not setting.cpu:
        pytest.skip(f"none of the CPU models will do, it takes {setting.what.cpus.value}")
    return setting


def _applies(item: pytest.Item, setting: Setting, faults: tuple[Fault, ...]) -> None:
    """Note which of the case's requirements apply to the processor; skip where none does, naming the CPUID bit."""
    run = item.config.stash[_RUN]
    engine = run.engines[setting.engine]
    asked: list[ledger.Evidence] = []

    def ask() -> Seen:
        if not asked:
            asked.append(_written(item, run.execute(engine, "cpuid", processor.PROGRAM, setting.cpu)))
        assert asked[0].seen is not None
        return asked[0].seen

    model, known = engine.cpu(setting.cpu), catalogue.load()
    lacks = {n: processor.missing(known[n].feature_gate, model, ask, faults) for n in _requirements(item)}
    item.stash[_JUDGES] = [name for name, lack in lacks.items() if not lack]
    if not item.stash[_JUDGES]:
        if asked:
            item.stash[_EVIDENCE], item.stash[_PROGRAM] = asked[0].id, asked[0].program
        names: dict[str, list[str]] = {}
        for name, lack in lacks.items():
            names.setdefault(lack, []).append(name)
        pytest.skip("; ".join(f"{lack}: no {', '.join(those)} there" for lack, those in names.items()))


def _words(record: Record) -> str:
    """A record's fields for a person."""
    return ", ".join(f"{k} {v:#x}" if isinstance(v, int) else f"{k} {v}" for k, v in record.fields.items())


def _judged(item: pytest.Item, evidence: ledger.Evidence) -> ledger.Evidence:
    """Note what this case judges, and write it down."""
    item.stash[_EVIDENCE] = evidence.id
    item.stash[_PROGRAM] = evidence.program
    return _written(item, evidence)


def _written(item: pytest.Item, evidence: ledger.Evidence) -> ledger.Evidence:
    """Write evidence down when this worker meets it for the first time."""
    written = item.config.stash.setdefault(_WRITTEN, set())
    if evidence.id not in written:
        _writer(item.config).write(evidence)
        written.add(evidence.id)
    return evidence


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn pytest's outcome into a verdict, and write it down at once."""
    report = yield
    setting = _setting(item)
    if setting is None or not (call.when == "call" or (call.when == "setup" and not report.passed)):
        return report
    verdict, reason = _verdict(report, call)
    _writer(item.config).write(_entry(item, setting, verdict, reason, call))
    report.user_properties.append(("verdict", verdict.value))
    return report


def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Show a case that was not run as what it is: pytest knows only failures and errors."""
    if ("verdict", ledger.Verdict.NOT_RUN.value) in getattr(report, "user_properties", ()):
        return "not run", "n", "NOT RUN"
    return None


def _verdict(report: pytest.TestReport, call: pytest.CallInfo[None]) -> tuple[ledger.Verdict, str]:
    if hasattr(report, "wasxfail"):
        return ledger.Verdict.EXPECTED_FAIL, str(report.wasxfail)
    if report.passed:
        return ledger.Verdict.PASS, ""
    if report.skipped:
        where = report.longrepr
        return ledger.Verdict.SKIP, str(where[2] if isinstance(where, tuple) else where).removeprefix("Skipped: ")
    if call.excinfo is None:
        return ledger.Verdict.FAIL, f"{expectations.MENDED}: {report.longrepr}"
    error = call.excinfo.value
    if isinstance(error, NotRun):
        return ledger.Verdict.NOT_RUN, str(error)
    if isinstance(error, AssertionError):
        return ledger.Verdict.FAIL, str(error).strip() or "assertion failed"
    return ledger.Verdict.ERROR, f"{type(error).__name__}: {error}"


def _entry(
    item: pytest.Item, setting: Setting, verdict: ledger.Verdict, reason: str, call: pytest.CallInfo[None]
) -> ledger.Entry:
    run = item.config.stash[_RUN]
    function = getattr(item, "function", None)
    path, line, _ = item.location
    return ledger.Entry(
        case=item.nodeid,
        function=item.nodeid.partition("[")[0],
        claim=next(iter((getattr(function, "__doc__", None) or "").strip().splitlines()), ""),
        source=f"{path}:{(line or 0) + 1}",
        requirements=item.stash.get(_JUDGES, None) or _requirements(item),
        engine=setting.engine,
        engine_version=run.engines[setting.engine].version,
        cpu=setting.cpu,
        variant=setting.variant_name,
        verdict=verdict,
        reason=reason,
        started=call.start,
        seconds=call.duration,
        expectation=item.stash.get(_EXPECTED, ""),
        evidence=(evidence := item.stash.get(_EVIDENCE, "")),
        program=item.stash.get(_PROGRAM, ""),
        artefacts=run.artefacts(evidence) if evidence else [],
    )


# The end


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close this worker's part of the ledger, and what its engines keep running."""
    run = config.stash.get(_RUN, None)
    if run is not None:
        run.close()
    writer = config.stash.get(_WRITER, None)
    if writer is not None:
        writer.close()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In the controller: merge the ledger and write the reports. A case without a verdict makes the run fail."""
    config = session.config
    run = config.stash[_RUN]
    if hasattr(config, "workerinput") or not run.folder.is_dir():
        return
    merged = ledger.gather(run.folder)
    if merged is None:
        with contextlib.suppress(OSError):
            run.folder.rmdir()  # made in advance, and no conformance case came
        return
    config.stash[LEDGER] = merged
    if not merged.planned and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK  # a shard that is empty: the others have the cases
    if not merged.good and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    from harness.report import write_all

    try:
        ledger.settle(merged, run.folder)
        write_all(merged, run.folder)
    except (OSError, SvmconfError) as error:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        why = error.strerror if isinstance(error, OSError) else str(error)
        config.stash[_TROUBLE] = f"the reports could not be written to {run.folder}: {why}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the verdict table."""
    merged = config.stash.get(LEDGER, None)
    if merged is not None:
        from harness.report import terminal

        terminal.show(merged)
        if _TROUBLE in config.stash:
            terminalreporter.write_line(config.stash[_TROUBLE], red=True)


def _setting(item: pytest.Item) -> Setting | None:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return next((value for value in parameters.values() if isinstance(value, Setting)), None)


def _boots_guest(item: pytest.Item, guest: str) -> bool:
    setting = _setting(item)
    if setting is None or not isinstance(setting.what, Boots):
        return False
    return setting.what.variants[setting.variant].guest == guest


def _writer(config: pytest.Config) -> ledger.Writer:
    if _WRITER not in config.stash:
        run = config.stash[_RUN]
        run.make_folder()
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        config.stash[_WRITER] = ledger.Writer(run.folder / f"ledger-{worker}.jsonl")
    return config.stash[_WRITER]
