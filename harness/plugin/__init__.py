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

import os
from pathlib import Path
from typing import Any

import pytest

from harness import circumstances, paths, replay, seed
from harness.errors import SvmconfError
from harness.machine.process import die_with
from harness.plugin.noted import RUN, SEED
from harness.run import STRESS, Run
from harness.shard import Shard
from harness.spec import catalogue, claims

pytest_plugins = [f"harness.plugin.{name}" for name in ("collecting", "observing", "judging", "ending")]
pytest.register_assert_rewrite("conformance")  # its helpers too, so that a failed assertion says what it saw


_MARKS = (
    *("requirement(*ids)", "boots(what)", "executes(what)"),
    "slow: seconds; -m 'not slow' leaves it out",
    "engines: boots engines of the store; takes part with --all-engines, or when its file is named",
)


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
    group.addoption("--operations", type=int, default=0, metavar="N", help="let a fuzzer act N times, too")
    group.addoption("--replay", default="", metavar="LEDGER", help="judge what this ledger holds, without booting")
    group.addoption("--shard", default="", metavar="I/N", help="only part I of N, split by a hash of the test's id")
    group.addoption("--unfinished", action="store_true", help="only what the run of --run-name has no verdict for")
    group.addoption("--run-name", default="", help="the run's folder (default: the time)")
    group.addoption("--seed", default="", metavar="N", help="what is drawn at random hangs on it (default: a new one)")
    group.addoption("--all-engines", action="store_true", help="the harness' own tests of the store's engines, too")
    group.addoption("--out", default=str(paths.OUT), help="folder for runs (default: reports/out)")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks and name the run; workers of xdist take the run's name from the controller."""
    if hasattr(config, "workerinput"):
        die_with(os.getppid())  # a controller that was killed leaves no worker, and so no engine
    for mark in _MARKS:
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
            config.stash[RUN] = recorded = replay.of(Path(option.replay), option.hypervisor, folder)
            drawn = recorded.seed if recorded.seed is not None else drawn
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error
    else:
        config.stash[RUN] = Run(
            option.engine,
            option.cpu,
            option.hypervisor,
            option.defect,
            folder,
            shard,
            option.stress,
            option.operations,
        )
    config.stash[SEED] = drawn
    config.pluginmanager.register(seed.Seeding(drawn), "svmconf-seeding")
    if config.getoption("numprocesses", None):
        # In a worker these would be internal errors; here they are one line.
        try:
            config.stash[RUN].check()
            config.stash[RUN].make_folder()
            wrong = _of_suite(config)
        except SvmconfError as error:
            raise pytest.UsageError(str(error)) from error
        if wrong:
            raise pytest.UsageError("\n".join(wrong))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist the run's name, its seed, and the command line, of which it has one of its own."""
    node.workerinput["svmconf_run"] = node.config.stash[RUN].folder.name
    node.workerinput["svmconf_command"] = circumstances.command()
    node.workerinput["svmconf_seed"] = str(node.config.stash[SEED])


def _of_suite(config: pytest.Config) -> list[str]:
    """What is wrong between the suite and the catalogue, found without collecting: what a worker finds is not shown."""
    if config.rootpath != paths.ROOT:
        return []
    return claims.complaints({case.id: case.requirements for case in claims.suite()}, catalogue.load(), whole=True)
