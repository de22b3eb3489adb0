"""Collecting: crosses cases with settings, holds them against the catalogue, and writes the plan down."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness import circumstances, ledger
from harness.cases import Boots, NotRun
from harness.errors import EngineError, SvmconfError
from harness.plugin.noted import ELSEWHERE, EXPECTED, RUN, SEED, requirements_of, setting_of, writer
from harness.spec import catalogue, claims, expectations


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each setting that the case's ``@boots`` or ``@executes`` and the command line amount to."""
    run = metafunc.config.stash[RUN]
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
    absent = [item for item in items if _has_no_setting(item)]
    items[:] = [item for item in items if not _has_no_setting(item)]
    config.hook.pytest_deselected(items=absent)
    yield
    if guest := config.option.guest:
        others = [item for item in items if not _boots_guest(item, guest)]
        items[:] = [item for item in items if _boots_guest(item, guest)]
        config.hook.pytest_deselected(items=others)
    if config.option.unfinished:
        done = ledger.done(config.stash[RUN].folder)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
        items[:] = [item for item in items if item.nodeid not in done]
    shard = config.stash[RUN].shard
    if shard is not None:
        others = [item for item in items if not shard.holds(item.nodeid)]
        items[:] = [item for item in items if shard.holds(item.nodeid)]
        config.hook.pytest_deselected(items=others)
        config.stash[ELSEWHERE] = sorted(item.nodeid for item in others if setting_of(item) is not None)


def _check(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hold every case against the catalogue, and mark known deviations of the engine: strictly, if not by chance."""
    run = config.stash[RUN]
    cases = [item for item in items if setting_of(item) is not None or claims.SUITE in item.path.parents]
    named = {item.nodeid.partition("[")[0]: requirements_of(item) for item in cases}
    whole = claims.is_whole((item.path for item in cases), config.args)
    try:
        wrong = claims.complaints(named, catalogue.load(), whole=whole)
    except SvmconfError as error:
        raise pytest.UsageError(str(error)) from error
    if wrong:
        raise pytest.UsageError("\n".join(wrong))
    for item in cases:
        if _has_no_setting(item):
            continue
        setting = setting_of(item)
        if setting is None:
            raise pytest.UsageError(f"{item.nodeid} judges nothing: give it @boots or @executes")
        item.extra_keyword_matches.update(requirements_of(item))  # -k SVM-15.4-003
        engine = run.engines[setting.engine]
        try:
            known = expectations.load(engine.name, engine.family)
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error
        name: str = item.originalname  # type: ignore[attr-defined]
        for deviation in known:
            if deviation.applies(name, engine.version, setting.cpu, setting.variant_name):
                raises = EngineError if deviation.crashes else NotRun if deviation.unreached else AssertionError
                strict = not deviation.by_chance
                item.add_marker(pytest.mark.xfail(raises=raises, strict=strict, reason=str(deviation)))
                item.stash.setdefault(EXPECTED, str(deviation))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down what is planned, before anything runs."""
    planned = [item.nodeid for item in session.items if setting_of(item) is not None]
    elsewhere = session.config.stash.get(ELSEWHERE, [])
    if (planned or elsewhere) and not session.config.option.collectonly:
        try:
            part = writer(session.config)
            part.write(_header(session.config))
            part.write(ledger.Plan(cases=sorted(planned), elsewhere=elsewhere))
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
        operations=option.operations,
    )
    command = getattr(config, "workerinput", {}).get("svmconf_command") or circumstances.command()
    also = {"asked": asked, "seed": config.stash[SEED], "command": command}
    return config.stash[RUN].header().model_copy(update=also)


def _has_no_setting(item: pytest.Item) -> bool:
    """Whether it is a case that does not occur in this run: in a recording of others, there is nothing to judge."""
    return setting_of(item) is None and not {"seen", "ran"}.isdisjoint(getattr(item, "fixturenames", ()))


def _boots_guest(item: pytest.Item, guest: str) -> bool:
    setting = setting_of(item)
    if setting is None or not isinstance(setting.what, Boots):
        return False
    return setting.what.variants[setting.variant].guest == guest
