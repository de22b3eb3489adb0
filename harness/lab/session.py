"""Programs on engines that a person chose: what ``svmconf lab`` offers, and scripts use.

::

    with open_session("qemu-10.0", "bochs-3.1") as on:
        print(on.run(guest(guest_asid=0)))
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import build
from harness.engines.base import Engine
from harness.errors import SvmconfError
from harness.lab import runner, show
from harness.lab.guest import Guest
from harness.lab.program import Program, Step
from harness.lab.programs import vmruns
from harness.lab.seen import Seen

Runs = Program | Guest | Step | Iterable[Step]


class Several(dict[str, Seen]):
    """What each engine showed, by its name; printed, it tells where they differ."""

    def __str__(self) -> str:
        return show.differences(self)

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text(str(self))  # type: ignore[attr-defined]


class Session:
    """Engines and their processor models. A model that an engine does not have is replaced by its own first one."""

    def __init__(self, engines: dict[str, Engine], cpu: str = "") -> None:
        build.probe()
        self.engines = engines
        self._cpu = cpu

    def run(self, what: Runs) -> Seen | Several:
        """Run a program, a guest, or steps: what the engine showed, or what each of several did."""
        program = as_program(what)
        seen = Several({name: self._one(engine, program) for name, engine in self.engines.items()})
        return seen if len(seen) > 1 else next(iter(seen.values()))

    def on(self, *names: str) -> Session:
        """The same on some of the engines; raise :class:`SvmconfError` for one that is not among them."""
        if unknown := set(names) - set(self.engines):
            raise SvmconfError(f"not open: {', '.join(sorted(unknown))}", f"open are {', '.join(self.engines)}")
        return Session({name: self.engines[name] for name in names}, self._cpu)

    def _one(self, engine: Engine, program: Program) -> Seen:
        with tempfile.TemporaryDirectory(prefix="svmconf-") as folder:
            return runner.run(engine, program, self.cpu(engine), Path(folder))

    def cpu(self, engine: Engine) -> str:
        """The model that is taken on an engine."""
        if self._cpu:
            try:
                return engine.cpu(self._cpu).name
            except SvmconfError:
                if len(self.engines) == 1:
                    raise
        return next(name for name in engine.default_cpus if name in engine.cpu_models())


def as_program(what: Runs) -> Program:
    """A program as it is; a guest is run with SVM enabled; steps are taken as they are."""
    if isinstance(what, Program):
        return what
    if isinstance(what, Guest):
        return vmruns(what)
    return Program(steps=(what,) if isinstance(what, Step) else tuple(what))


@contextmanager
def open_session(*engines: str, cpu: str = "") -> Iterator[Session]:
    """A session on engines by name (none: the default one); what they keep running ends with it."""
    from harness.engines import select

    found = {name: select.engine(name) for name in select.names(",".join(engines) or "auto")}
    try:
        yield Session({engine.name: engine for engine in found.values()}, cpu)
    finally:
        for engine in found.values():
            engine.close()
