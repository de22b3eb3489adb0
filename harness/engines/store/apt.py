"""A private apt for one suite, as an ordinary user: its own lists and cache, the machine's proxies, keys and mirror."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from harness.deadline import Deadline
from harness.engines.store import cache
from harness.engines.store.errors import FetchError, NoRoom
from harness.engines.store.lock import Package
from harness.engines.store.process import Done, Tick, found, run

_KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
_QUERY_SECONDS, _UPDATE_SECONDS, _DOWNLOAD_SECONDS = 120, 600, 3600
_NOT_FOUND = 100
_NETWORK = "is the network there? SVMCONF_MIRROR names another mirror; the same command goes on where this one was"

_KEYS = "this machine does not have Debian's keys: apt-get install debian-archive-keyring"


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

    def refresh(self, since: float = 0) -> None:
        """Have the mirror's lists, read after the time ``since`` (seconds, as :func:`time.time`)."""
        sources = "".join(source(suite) for suite in self.suites)
        with cache.guard(f"apt-{self.suites[-1]}", self.stop):
            self._configure(sources)
            done = self.folder / "updated"
            if done.is_file() and done.read_text() == sources and done.stat().st_mtime >= since:
                return
            done.unlink(missing_ok=True)
            begun = time.time()
            self._run("apt-get", "update", "-o", "APT::Update::Error-Mode=any", seconds=_UPDATE_SECONDS)
            done.write_text(sources)
            os.utime(done, (begun, begun))

    def resolve(self, packages: Sequence[str]) -> list[Package]:
        """The newest version of these packages, and of all that they depend on."""
        said = self._run("apt-get", "install", "--simulate", *packages).said
        chosen = re.findall(r"^Inst (\S+) \((\S+) ", said, re.M)
        return self.records([f"{name}={version}" for name, version in chosen])

    def records(self, wanted: Sequence[str]) -> list[Package]:
        """What the mirror's lists say of packages, given as ``name=version``; what they do not have is left out."""
        if not wanted:
            return []
        said = self._run("apt-cache", "show", "--no-all-versions", *wanted, allowed=(0, _NOT_FOUND)).said
        return [package for text in said.split("\n\n") if (package := _package(text))]

    def versions(self, name: str) -> list[str]:
        """The versions of a package that the mirror has, the newest first."""
        said = self._run("apt-cache", "madison", name, allowed=(0, _NOT_FOUND)).said
        return list(dict.fromkeys(line.split("|")[1].strip() for line in said.splitlines() if line.count("|") == 2))

    # Fetching

    def download(self, packages: Sequence[Package], folder: Path, tick: Tick) -> None:
        """Bring these .debs to ``folder``, each with its checksum, going on with what is there in part.

        Not by ``apt-get download``: that begins each file anew.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if not packages:
            return
        said = self._run("apt-get", "download", "--print-uris", *(package.exact for package in packages)).said
        uris = {file: uri for uri, file in re.findall(r"^'(\S+)' (\S+) ", said, re.M)}
        wanted = ((uris[p.file], str(folder / p.file), f"SHA256:{p.sha256}") for p in packages if p.file in uris)
        try:
            self._run("apt-helper", "download-file", *chain(*wanted), seconds=_DOWNLOAD_SECONDS, tick=tick)
        finally:
            for wrong in folder.glob("*.FAILED"):  # of another checksum
                wrong.unlink()

    def _run(
        self,
        program: str,
        *arguments: str,
        allowed: tuple[int, ...] = (0,),
        seconds: float = _QUERY_SECONDS,
        tick: Tick = lambda: None,
    ) -> Done:
        """Run one of apt's programs; raise :class:`FetchError` with what it complains of."""
        env = {"APT_CONFIG": str(self.folder / "apt.conf")}
        done = run([found(program), *arguments], Deadline.after(seconds), env, self.stop, tick)
        if done.status in allowed:
            return done
        if done.disk_full:
            raise NoRoom(cache.folder())
        way_out = _KEYS if "NO_PUBKEY" in done.said else _NETWORK
        raise FetchError(f"{program} {arguments[0]} for {self.suites[-1]} fails: {done.complaint}", way_out)

    def _configure(self, sources: str) -> None:
        for part in ("state/lists/partial", "cache/archives/partial", "etc/none"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        pin = f"Package: *\nPin: release n={self.suites[-1]}\nPin-Priority: 900\n"
        settings = _DEFAULTS + _machine_settings() + _PRIVATE.format(folder=self.folder)
        files = {"status": "", "etc/sources.list": sources, "etc/preferences": pin, "apt.conf": settings}
        for name, content in files.items():
            path = self.folder / name
            if not path.is_file() or path.read_text() != content:
                cache.write(path, content)


_DEFAULTS = """\
Acquire::Retries "3";
"""
_PRIVATE = """\
Dir "{folder}/";
Dir::State "state/";
Dir::State::status "{folder}/status";
Dir::Cache "cache/";
Dir::Cache::srcpkgcache "";
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
Debug::NoLocking "true";
"""
"""The machine's own settings come between these two. Who may use a suite's state is for :func:`cache.guard` to say."""


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
    command = [found("apt-get"), "indextargets", "--format", fields, "Created-By: Packages"]
    said = run(command, Deadline.after(_QUERY_SECONDS)).said
    targets = [line.split("|") for line in said.splitlines() if line.count("|") == 3]
    of_main = [target for target in targets if target[1] == "main" and "security" not in target[2]]
    labelled = [target[0] for target in of_main if target[3] == "Debian"]
    named = [target[0] for target in of_main if target[0].rstrip("/").endswith("/debian")]
    if uris := labelled or named:
        return uris[0]
    raise FetchError(
        "this machine's apt names no Debian mirror", "SVMCONF_MIRROR=ADDRESS, of a mirror's folder `debian`"
    )


def _machine_settings() -> str:
    """The machine's own settings for downloads (proxies, certificates, time-outs), as apt prints and reads them."""
    said = run([found("apt-config"), "dump", "Acquire"], Deadline.after(_QUERY_SECONDS)).said
    return "".join(line + "\n" for line in said.splitlines() if not line.startswith("Acquire::IndexTargets"))


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
