"""Runs a hypervisor under the plugin: every passage as it comes, and how many instructions which exit costs.

::

    tally = count(engine, manifest, Boot(guest="mixed", count=100), "EPYC").tally
    tally.rows["CPUID"].host.median     # instructions from #VMEXIT to the next VMRUN, that included
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.boot import Boot
from harness.deadline import Deadline
from harness.engines.base import Engine
from harness.engines.qemu import Qemu
from harness.errors import EngineError, SvmconfError
from harness.hypervisors.manifest import Manifest
from harness.machine.base import Stop
from harness.machine.ending import Ending, How
from harness.machine.qemu import QemuMachine
from harness.trace import library
from harness.trace.listen import Listener, Listening, listen
from harness.trace.tally import Tally

_QUIT_SECONDS = 5.0


@dataclass(frozen=True)
class Counted:
    """What came of a run: ``outcome`` as the manifest names it, ``ending`` ``None`` when a person stopped it."""

    tally: Tally
    ending: Ending | None
    outcome: str | None


def lacks(engine: Engine) -> str:
    """Why an engine cannot run the plugin; empty when it can."""
    if not isinstance(engine, Qemu) or engine.accelerator != "tcg":
        return f"{engine.name} is no QEMU with TCG"
    return library.lacks(Path(engine.argv[-1]), engine.version)


def count(engine: Engine, manifest: Manifest, boot: Boot, cpu: str, listener: Listener = lambda _: None) -> Counted:
    """Boot a hypervisor and let it run to its end, or to the boot's last second, or until a person stops it.

    ``listener`` gets every passage, on another thread. Raises :class:`SvmconfError` when the engine has no plugins,
    and what :func:`harness.trace.library.build` raises.
    """
    why = lacks(engine)
    if why or not isinstance(engine, Qemu):
        raise SvmconfError(f"instructions cannot be counted: {why}", "--engine qemu-10.0")
    plugin = library.build(engine.version)
    with (
        tempfile.TemporaryDirectory(prefix="svmconf-") as folder,
        listen(plugin, listener) as listening,
        engine.watched(manifest, boot, cpu, listening.plugin, Path(folder)) as machine,
    ):
        ending, console = _run(machine, manifest, listening)
    outcome = manifest.outcome_of(ending.code if ending else None, console)
    return Counted(listening.tally, ending, outcome)


def _run(machine: QemuMachine, manifest: Manifest, listening: Listening) -> tuple[Ending | None, str]:
    ending: Ending | None = None

    def over() -> str | None:
        shown = manifest.outcome_of(None, machine.console()) if manifest.watches_console else None
        return f"the console shows {shown}" if shown else listening.over()

    def on_stop(_: Stop) -> None:
        machine.debugger.resume()

    try:
        ending = machine.run(on_stop, over=over)
    except KeyboardInterrupt:
        pass
    except EngineError as error:
        ending = Ending(how=How.ENGINE_CRASHED, detail=machine.post_mortem() or str(error))
    with contextlib.suppress(SvmconfError):  # let it end itself, so that the plugin tells its last
        machine.qmp.quit()
        machine.child.wait(Deadline.after(_QUIT_SECONDS))
    return ending, machine.console()
