"""A private apt for one suite, as an ordinary user: its own lists and cache, the machine's proxies, keys and mirror."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.deadline import Deadline
from harness.engines.store import cache
from harness.engines.store.lock import Package
from harness.errors import EngineError, ToolMissing
from harness.machine.process import Child

_KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
_QUERY_SECONDS = 120
MAKE_ROOM = "make room, or move the cache with SVMCONF_CACHE; what is downloaded is kept"
DO_WITHOUT = "svmconf engines add NAME --binary PATH takes any QEMU or Bochs that you have"

Tick = Callable[[], None]


class FetchError(EngineError):
    """A component could not be fetched."""


class Stopped(FetchError):
    """Somebody asked to stop."""


@dataclass(frozen=True)
class Apt:
    """The suites ``suites`` of the Debian mirror; the last one is preferred. ``stop`` ends what is under way."""

    suites: tuple[str, ...]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def folder(self) -> Path:
        """Its state."""
        return cache.folder() / "apt" / self.suites[-1]

    # Asking

    def refresh(self, force: bool = False) -> None:
        """Have the mirror's lists: read them if there are none from that mirror, or if ``force``."""
        sources = "".join(source(suite) for suite in self.suites)
        with cache.guard(f"apt-{self.suites[-1]}"):
            done = self.folder / "updated"
            if not force and done.is_file() and done.read_text() == sources:
                return
            done.unlink(missing_ok=True)
            self._configure(sources)
            self._run("apt-get", "update", "-o", "APT::Update::Error-Mode=any", seconds=600)
            done.write_text(sources)

    def resolve(self, packages: Sequence[str]) -> list[Package]:
        """The newest version of these packages, and of all that they depend on."""
        said = self._run("apt-get", "install", "--simulate", *packages)
        chosen = re.findall(r"^Inst (\S+) \((\S+) ", said, re.M)
        return self.records([f"{name}={version}" for name, version in chosen])

    def records(self, wanted: Sequence[str]) -> list[Package]:
        """What the mirror's lists say of packages, given as ``name=version``; what they do not have is left out."""
        if not wanted:
            return []
        said = self._run("apt-cache", "show", "--no-all-versions", *wanted, allowed=(0, 100))
        return [package for text in said.split("\n\n") if (package := _package(text))]

    def versions(self, name: str) -> list[str]:
        """The versions of a package that the mirror has, the newest first."""
        said = self._run("apt-cache", "madison", name, allowed=(0, 100))
        return list(dict.fromkeys(line.split("|")[1].strip() for line in said.splitlines() if line.count("|") == 2))

    # Fetching

    def download(self, packages: Sequence[Package], folder: Path, tick: Tick) -> None:
        """Bring these .debs to ``folder``, going on with what is there in part. Verified by apt's signatures."""
        folder.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "download", *(p.exact for p in packages), cwd=folder, seconds=3600, tick=tick)

    def _run(
        self,
        program: str,
        *arguments: str,
        allowed: tuple[int, ...] = (0,),
        seconds: float = _QUERY_SECONDS,
        cwd: Path | None = None,
        tick: Tick = lambda: None,
    ) -> str:
        """Run one of apt's programs; return what it said."""
        with TemporaryDirectory(prefix="svmconf-") as scratch:
            log = Path(scratch) / "log"
            env = {**os.environ, "APT_CONFIG": str(self.folder / "apt.conf"), "LC_ALL": "C"}
            command = [found(program), *arguments]
            if cwd is not None:
                command = [found("env"), "-C", str(cwd), *command]
            status = run(command, log, env, Deadline.after(seconds), self.stop, tick)
            said = log.read_text(errors="replace")
        if status not in allowed:
            raise FetchError(f"{self.suites[-1]}: {program} {arguments[0]}: {complaint(said, status)}", _way_out(said))
        return said

    def _configure(self, sources: str) -> None:
        for part in ("state/lists/partial", "cache/archives/partial", "etc/none"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "etc" / "sources.list").write_text(sources)
        pin = f"Package: *\nPin: release n={self.suites[-1]}\nPin-Priority: 900\n"
        (self.folder / "etc" / "preferences").write_text(pin)
        (self.folder / "apt.conf").write_text(_machine_settings() + _PRIVATE.format(folder=self.folder))


_PRIVATE = """\
Dir "{folder}/";
Dir::State "state/";
Dir::State::status "{folder}/status";
Dir::Cache "cache/";
Dir::Etc "etc/";
Dir::Etc::main "none.conf";
Dir::Etc::parts "none";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "none";
Dir::Etc::preferences "preferences";
Dir::Etc::preferencesparts "none";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d/";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d/";
Dir::Log "log/";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "";
Acquire::Check-Valid-Until "false";
Acquire::Languages {{ "none"; }};
Acquire::GzipIndexes "true";
Acquire::Retries "3";
Debug::NoLocking "true";
"""


def source(suite: str) -> str:
    """A line of sources.list for a suite."""
    keyring = next((path for name in _KEYRINGS if (path := Path("/usr/share/keyrings") / name).is_file()), None)
    options = f"[signed-by={keyring}] " if keyring else ""
    return f"deb {options}{mirror()} {suite} main\n"


def mirror() -> str:
    """The Debian mirror: ``SVMCONF_MIRROR``, or the one that the machine's own apt uses."""
    if chosen := os.environ.get("SVMCONF_MIRROR"):
        return chosen
    fields = "$(REPO_URI)|$(COMPONENT)|$(RELEASE)|$(LABEL)"
    said = _ask("apt-get", "indextargets", "--format", fields, "Created-By: Packages")
    targets = [line.split("|") for line in said.splitlines() if line.count("|") == 3]
    of_main = [t for t in targets if t[1] == "main" and "security" not in t[2]]
    by_name = [t[0] for t in of_main if t[0].rstrip("/").endswith("/debian")]
    uris = [t[0] for t in of_main if t[3] == "Debian"] or by_name
    if not uris:
        raise FetchError(
            "this machine's apt names no Debian mirror", "SVMCONF_MIRROR=ADDRESS, that of a mirror's folder `debian`"
        )
    return uris[0]


def _machine_settings() -> str:
    """The machine's own settings for downloads (proxies, certificates, time-outs), as apt prints and reads them."""
    said = _ask("apt-config", "dump", "Acquire")
    return "".join(line + "\n" for line in said.splitlines() if not line.startswith("Acquire::IndexTargets"))


def _ask(program: str, *arguments: str) -> str:
    with TemporaryDirectory(prefix="svmconf-") as scratch:
        log = Path(scratch) / "log"
        env = {**os.environ, "LC_ALL": "C"}
        run([found(program), *arguments], log, env, Deadline.after(_QUERY_SECONDS))
        return log.read_text(errors="replace")


def found(program: str) -> str:
    """Where a program is; raise :class:`ToolMissing` with the way to do without."""
    path = shutil.which(program)
    if path is None:
        what = f"no {program}: engines are fetched with Debian's apt, which this machine does not have"
        raise ToolMissing(what, DO_WITHOUT)
    return path


def run(
    command: Sequence[str],
    log: Path,
    env: dict[str, str],
    deadline: Deadline,
    stop: threading.Event | None = None,
    tick: Tick = lambda: None,
) -> int:
    """Run a command to its end and return its exit status; killed when the deadline passes or ``stop`` is set."""
    child = Child(command, log, env=env)
    try:
        while not child.wait(deadline.sooner(0.1)):
            tick()
            deadline.check(Path(command[0]).name)
            if stop is not None and stop.is_set():
                raise Stopped("stopped")
        return child.status or 0
    finally:
        child.kill()


def complaint(said: str, status: int) -> str:
    """The line of a program's words that says why it failed."""
    lines = [line for line in said.splitlines() if line.strip()]
    if full := [line for line in lines if "No space left" in line or "enough free space" in line]:
        return f"the disk is full: {full[-1]}"
    errors = [line for line in lines if line.startswith(("E:", "Err:", "W: Failed", "dpkg-deb: error"))]
    said_so = errors[0] if errors else lines[-1] if lines else ""
    return said_so or f"exit status {status}"


def _way_out(said: str) -> str:
    if "No space left" in said or "enough free space" in said:
        return MAKE_ROOM
    return "is the network there? The same command goes on where it was; SVMCONF_MIRROR names another mirror"


def _package(record: str) -> Package | None:
    fields = dict(re.findall(r"^(Package|Version|Architecture|Size|SHA256|Filename): (.+)$", record, re.M))
    if len(fields) < 6:
        return None
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
        path=fields["Filename"],
    )
