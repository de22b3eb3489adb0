"""Brings one component into the cache: download, verify, unpack, try, and only then put it where it is used from."""

from __future__ import annotations

import errno
import platform
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from harness.deadline import Deadline
from harness.engines.store import cache, keep, lock, programs, trial
from harness.engines.store.apt import Apt
from harness.engines.store.errors import DO_WITHOUT, FetchError, NoRoom
from harness.engines.store.lock import Locked, Package
from harness.engines.store.process import found, run
from harness.engines.store.recipes import Recipe, recipes
from harness.engines.store.stamp import Stamp, sha256

Report = Callable[[str, str, int, int], None]
"""Is told component, stage (waiting, lists, download, unpack, trial, ready, failed), and how much of how much."""

_UNPACK_SECONDS = 600
_MERGES_USR = "base-files"
"""Has no file that we need, and on newer suites a link ``lib`` that would give each library two names."""


@dataclass(frozen=True)
class Wish:
    """How a fetch is to be done.

    :param update: resolve the versions anew, and rewrite that part of the lock file.
    :param thorough: take every checksum of what is there already.
    :param since: the mirror's lists are too old if they were read before (seconds, as :func:`time.time`).
    """

    update: bool = False
    thorough: bool = False
    since: float = field(default_factory=time.time)


def silent(name: str, stage: str, done: int, total: int) -> None:
    """Tells nobody."""


class Fetch:
    """One component on its way into the cache."""

    def __init__(self, name: str, wish: Wish, report: Report, stop: threading.Event) -> None:
        self.name = name
        self.wish = wish
        self.recipe: Recipe = recipes().of(name)
        self.stop = stop
        self.apt = Apt(self.recipe.suites, stop)
        self.downloads = cache.folder() / "downloads" / name
        self._report = report

    def __call__(self) -> None:
        """Have it in the cache as the lock file says; raise :class:`FetchError` if it cannot be had."""
        if not self.wish.update and self._ready():
            self._tell("ready")
            return
        self._tell("waiting")
        try:
            with cache.guard(self.name, self.stop):
                locked = self._update() if self.wish.update else self._locked()
                if not self._ready():
                    self._bring(locked)
                shutil.rmtree(self.downloads, ignore_errors=True)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NoRoom(cache.folder()) from error
            where = f": {error.filename}" if error.filename else ""
            raise FetchError(f"{error.strerror}{where}", "SVMCONF_CACHE=DIR moves the cache") from error
        self._tell("ready")

    def _tell(self, stage: str, done: int = 0, total: int = 0) -> None:
        self._report(self.name, stage, done, total)

    def _ready(self) -> bool:
        """Whether the cache holds it as the lock file says, whole."""
        locked = lock.read().get(self.name)
        digest = locked.digest(self.recipe) if locked else ""
        return any(k.stamp.digest == digest and not k.fault(self.wish.thorough) for k in cache.kept(self.name))

    def _locked(self) -> Locked:
        locked = lock.read().get(self.name)
        if locked is None:
            raise FetchError("not in the lock file", f"svmconf engines fetch {self.name} --update")
        return locked

    def _bring(self, locked: Locked) -> None:
        if platform.machine() != "x86_64":
            raise FetchError(f"Debian's amd64 packages do not run on {platform.machine()}", DO_WITHOUT)
        packages = self._download(locked.packages)
        instead = tuple(
            f"{new.name} {new.version} instead of {old.version}"
            for new, old in zip(packages, locked.packages, strict=True)
            if new != old
        )
        with cache.draft(self.name) as draft:
            unpacked, root = self._unpack(packages, draft / "all"), draft / "root"
            for path in keep.needed(unpacked, self.recipe.kept):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (unpacked / path).rename(root / path)
            shutil.rmtree(unpacked)
            version = self._try(root, locked)
            stamp = Stamp.of(root, self.name, self.recipe.family, locked.digest(self.recipe), version, instead)
            cache.install(draft, stamp)

    # Stages

    def _download(self, packages: Sequence[Package]) -> Sequence[Package]:
        """Have these packages in the downloads folder, each with its checksum; if need be with newer lists.

        A suite moves on: for a package that is gone, and is not what the component is named for, the one that there
        is now stands in. Such packages are libraries, which do not decide what the engine does.

        :return: the packages that are there, in the same order.
        """
        for since in (0.0, self.wish.since):
            missing = self._missing(packages)
            if not missing:
                return packages
            self._tell("lists")
            self.apt.refresh(since)
            gone = self._gone(missing)
            there = [package for package in missing if package not in gone]
            try:
                self.apt.download(there, self.downloads, lambda: self._tick(packages))
            except FetchError:
                if since or self.stop.is_set():
                    raise
        if not (missing := self._missing(packages)):
            return packages
        if not gone or self.wish.update:
            raise FetchError(f"{missing[0].file} did not arrive whole")
        return self._with_stand_ins(packages, gone)

    def _with_stand_ins(self, packages: Sequence[Package], gone: Sequence[Package]) -> Sequence[Package]:
        """The same with what the mirror has now for those that are gone; raise where that will not do."""
        now = {package.name: package for package in self.apt.records([package.name for package in gone])}
        if any(package.name in self.recipe.packages or package.name not in now for package in gone):
            raise self._is_gone(gone)
        chosen = [now[package.name] if package in gone else package for package in packages]
        self.apt.download(self._missing(chosen), self.downloads, lambda: self._tick(chosen))
        if missing := self._missing(chosen):
            raise FetchError(f"{missing[0].file} did not arrive whole")
        return chosen

    def _missing(self, packages: Sequence[Package]) -> list[Package]:
        """Which are not there, or not whole; a file of full size but with other content is removed."""
        missing = []
        for package in packages:
            path = self.downloads / package.file
            size = path.stat().st_size if path.is_file() else 0
            if size >= package.size and sha256(path) != package.sha256:
                path.unlink()
                size = 0
            if size < package.size:
                missing.append(package)
        return missing

    def _tick(self, packages: Sequence[Package]) -> None:
        """Tell how many bytes of these are there."""
        here = sum(path.stat().st_size for p in packages if (path := self.downloads / p.file).is_file())
        self._tell("download", here, sum(package.size for package in packages))

    def _gone(self, packages: Sequence[Package]) -> list[Package]:
        """Which of these the mirror does not have, what the component is named for first."""
        has = self.apt.records([f"{package.name}={package.version}" for package in packages])
        known = {(package.name, package.version): package.sha256 for package in has}
        for package in packages:
            if known.get((package.name, package.version), package.sha256) != package.sha256:
                raise self._is_another(package)
        gone = (package for package in packages if (package.name, package.version) not in known)
        return sorted(gone, key=lambda package: package.name not in self.recipe.packages)

    def _is_gone(self, gone: Sequence[Package]) -> FetchError:
        one, *others = gone
        now = ", ".join(self.apt.versions(one.name)) or "none of that name"
        more = f"; gone too: {', '.join(package.name for package in others)}" if others else ""
        what = f"{self.recipe.suite} has no {one.name} {one.version} any more, it has: {now}{more}"
        return FetchError(what, f"svmconf engines fetch {self.name} --update takes that and notes it in the lock file")

    def _is_another(self, package: Package) -> FetchError:
        what = f"the mirror's {package.file} has another checksum than the lock file names"
        return FetchError(what, f"if you trust the mirror: svmconf engines fetch {self.name} --update")

    def _unpack(self, packages: Sequence[Package], folder: Path) -> Path:
        for number, package in enumerate(packages):
            self._tell("unpack", number, len(packages))
            self._dpkg_deb("--extract", package, str(folder))
        return folder

    def _contents(self, package: Package) -> list[Path]:
        """What a package holds, below the root."""
        lines = self._dpkg_deb("--contents", package).splitlines()
        return [Path(line.split(maxsplit=5)[5].split(" -> ")[0]) for line in lines]

    def _dpkg_deb(self, action: str, package: Package, *arguments: str) -> str:
        command = [found("dpkg-deb"), action, str(self.downloads / package.file), *arguments]
        done = run(command, Deadline.after(_UNPACK_SECONDS), stop=self.stop)
        if done.disk_full:
            raise NoRoom(cache.folder())
        if done.status:
            raise FetchError(f"dpkg-deb {action} {package.file} fails: {done.complaint}")
        return done.said

    def _try(self, root: Path, locked: Locked) -> str:
        """Its version for reports; a program has to say it itself, and to boot something."""
        program = recipes().family[self.recipe.family].program
        if not program:
            return locked.version
        self._tell("trial")
        runnable = programs.unpacked(self.name, self.recipe.family, "", root, program)
        version = programs.introduction(runnable)[1].split()[0]
        with cache.draft(self.name) as folder:
            trial.boots(runnable, folder, self.stop)
        return f"{version} (Debian {locked.version})"

    def _update(self) -> Locked:
        """Resolve what there is now, find out of which packages anything is kept, and write that down."""
        self._tell("lists")
        self.apt.refresh(self.wish.since)
        resolved = self.apt.resolve(self.recipe.packages)
        version = next(package.version for package in resolved if package.name == self.recipe.packages[0])
        only = recipes().family[self.recipe.family].only
        fitting = (package for package in resolved if any(fnmatch(package.name, glob) for glob in only))
        packages = [package for package in fitting if package.name != _MERGES_USR]
        self._download(packages)
        owner = {path: package for package in packages for path in self._contents(package)}
        with cache.draft(self.name) as draft:
            owners = {owner[path] for path in keep.needed(self._unpack(packages, draft / "all"), self.recipe.kept)}
        if not owners:
            raise FetchError("its packages hold nothing of what its recipe keeps")
        locked = Locked(suite=self.recipe.suite, version=version, packages=tuple(p for p in packages if p in owners))
        lock.write(self.name, locked)
        return locked
