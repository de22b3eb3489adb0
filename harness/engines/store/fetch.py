"""Brings one component into the cache: download, verify, unpack, try, and only then put it where it is used from."""

from __future__ import annotations

import os
import platform
import shutil
import threading
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from harness.deadline import Deadline
from harness.engines.store import apt, cache, keep, lock, programs
from harness.engines.store.apt import Apt, FetchError
from harness.engines.store.lock import Locked, Package
from harness.engines.store.recipes import Recipe, recipes

Report = Callable[[str, str, int, int], None]
"""Is told component, stage (``waiting``, ``lists``, ``download``, ``unpack``, ``ready``), and how much of how much."""

_UNPACK_SECONDS = 600
_MERGES_USR = "base-files"
"""Has no file that we need, and on newer suites a link ``lib`` that would give each library two names."""


class Fetch:
    """One component on its way into the cache."""

    def __init__(self, name: str, report: Report, stop: threading.Event) -> None:
        self.name = name
        self.recipe: Recipe = recipes().of(name)
        self.report = partial(report, name)
        self.stop = stop
        self.apt = Apt(self.recipe.suites, stop)
        self.downloads = cache.folder() / "downloads" / name

    def __call__(self, *, thorough: bool = False, update: bool = False) -> None:
        """Have it in the cache as the lock file says; raise :class:`FetchError`.

        :param thorough: take every checksum of what is there already.
        :param update: resolve its versions anew and rewrite its part of the lock file.
        """
        if not update and ready(self.name, thorough):
            return
        self.report("waiting", 0, 0)
        with cache.guard(self.name):
            cache.sweep(self.name)
            locked = self._update() if update else self._locked()
            if not ready(self.name, thorough):
                self._fetch(locked)
            shutil.rmtree(self.downloads, ignore_errors=True)
            self.report("ready", 1, 1)

    def _locked(self) -> Locked:
        locked = lock.read().get(self.name)
        if locked is None:
            raise FetchError(f"{self.name}: not in the lock file", f"svmconf engines fetch {self.name} --update")
        return locked

    def _fetch(self, locked: Locked) -> None:
        if platform.machine() != "x86_64":
            raise FetchError(f"{self.name}: Debian's amd64 packages do not run on {platform.machine()}", apt.DO_WITHOUT)
        self._download(locked.packages)
        draft = self._draft()
        try:
            root = self._unpack(locked.packages, draft)
            version = self._try(root, locked)
            stamp = cache.stamp(root, self.name, self.recipe.family, locked.digest(self.recipe), version)
            cache.install(draft, stamp)
        except OSError as error:
            raise FetchError(f"{self.name}: {error.strerror}: {error.filename}", apt.MAKE_ROOM) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    # Stages

    def _download(self, packages: Sequence[Package]) -> None:
        """Have these packages in the downloads folder, each with the checksum of the lock file."""
        missing = self._missing(packages)
        for fresh in (False, True):
            if not missing:
                return
            self.report("lists", 0, 0)
            self.apt.refresh(force=fresh)
            if gone := self._gone(missing):
                if fresh:
                    raise self._is_gone(gone)
                continue
            try:
                self.apt.download(missing, self.downloads, lambda: self._tick(packages))
            except FetchError:
                if fresh or self.stop.is_set():
                    raise
            missing = self._missing(packages)
        if missing:
            what = f"{self.name}: {missing[0].file} has another checksum than the lock file names"
            raise FetchError(what, f"svmconf engines fetch {self.name} --update")

    def _missing(self, packages: Sequence[Package]) -> list[Package]:
        """Which are not there, or not whole; a file of full size but with other content is removed."""
        missing = []
        for package in packages:
            path = self.downloads / package.file
            if not path.is_file() or path.stat().st_size < package.size:
                missing.append(package)
            elif cache.sha256(path) != package.sha256:
                path.unlink()
                missing.append(package)
        return missing

    def _tick(self, packages: Sequence[Package]) -> None:
        """Report how many bytes of these are there."""
        here = sum(path.stat().st_size for p in packages if (path := self.downloads / p.file).is_file())
        self.report("download", here, sum(package.size for package in packages))

    def _gone(self, packages: Sequence[Package]) -> list[Package]:
        has = {(p.name, p.version) for p in self.apt.records([f"{p.name}={p.version}" for p in packages])}
        return [package for package in packages if (package.name, package.version) not in has]

    def _is_gone(self, gone: Sequence[Package]) -> FetchError:
        one = gone[0]
        others = ", ".join(self.apt.versions(one.name)) or "none of that name"
        more = f" (and {len(gone) - 1} more packages moved on)" if len(gone) > 1 else ""
        return FetchError(
            f"{self.name}: {self.recipe.suite} has no {one.name} {one.version} any more; it has: {others}{more}",
            f"svmconf engines fetch {self.name} --update takes what there is and notes it in the lock file",
        )

    def _draft(self) -> Path:
        draft = cache.folder() / "drafts" / f"{self.name}-new-{os.getpid()}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        return draft

    def _unpack(self, packages: Sequence[Package], draft: Path) -> Path:
        """Unpack into the draft and move what is kept of it to ``root/``."""
        everything, root = self._extract(packages, draft / "all"), draft / "root"
        for path in keep.needed(everything, recipes().family[self.recipe.family].keep):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (everything / path).rename(root / path)
        shutil.rmtree(everything)
        (draft / "all.log").unlink()
        return root

    def _extract(self, packages: Sequence[Package], folder: Path) -> Path:
        folder.mkdir()
        log = folder.with_suffix(".log")
        for number, package in enumerate(packages):
            self.report("unpack", number, len(packages))
            command = [apt.found("dpkg-deb"), "--extract", str(self.downloads / package.file), str(folder)]
            if status := apt.run(command, log, dict(os.environ), Deadline.after(_UNPACK_SECONDS), self.stop):
                said = apt.complaint(log.read_text(errors="replace"), status)
                raise FetchError(f"{self.name}: unpacking {package.file}: {said}")
        return folder

    def _try(self, root: Path, locked: Locked) -> str:
        """Its version for reports; a program has to say it itself."""
        program = recipes().family[self.recipe.family].program
        if not program:
            return locked.version
        runnable = programs.unpacked(self.name, self.recipe.family, "", root, program)
        return f"{programs.introduces_itself(runnable)[1]} (Debian {locked.version})"

    def _update(self) -> Locked:
        """Resolve what there is now, find out of which packages anything is kept, and write that down."""
        self.report("lists", 0, 0)
        self.apt.refresh(force=True)
        family = recipes().family[self.recipe.family]
        resolved = self.apt.resolve(self.recipe.packages)
        version = next(package.version for package in resolved if package.name == self.recipe.packages[0])
        fitting = (p for p in resolved if any(fnmatch(p.name, glob) for glob in family.only))
        packages = [p for p in fitting if p.name != _MERGES_USR]
        self._download(packages)
        draft = self._draft()
        try:
            owner = {path: package for package in packages for path in self._contents(package, draft)}
            everything = self._extract(packages, draft / "all")
            owners = {owner[path] for path in keep.needed(everything, family.keep)}
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        if not owners:
            raise FetchError(f"{self.name}: its packages hold nothing of what the recipe keeps")
        locked = Locked(suite=self.recipe.suite, version=version, packages=tuple(p for p in packages if p in owners))
        lock.write(self.name, locked)
        return locked

    def _contents(self, package: Package, draft: Path) -> list[Path]:
        """What a package holds, below the root."""
        log = draft / "contents"
        status = apt.run(
            [apt.found("dpkg-deb"), "--contents", str(self.downloads / package.file)],
            log, dict(os.environ), Deadline.after(_UNPACK_SECONDS), self.stop,
        )  # fmt: skip
        said = log.read_text(errors="replace")
        if status:
            raise FetchError(f"{self.name}: reading {package.file}: {apt.complaint(said, status)}")
        names = (line.split(maxsplit=5)[5].split(" -> ")[0] for line in said.splitlines())
        return [Path(name) for name in names]


def ready(name: str, thorough: bool = False) -> bool:
    """Whether the cache holds it as the lock file says, whole."""
    recipe, locked = recipes().of(name), lock.read().get(name)
    if locked is None:
        return False
    digest = locked.digest(recipe)
    return any(k.stamp.digest == digest and not k.fault(thorough) for k in cache.kept(name))
