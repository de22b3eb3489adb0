"""Fetching from a small mirror on this machine, by the real apt: and what happens when things go wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import paths
from harness.commands.engines import command
from harness.deadline import Deadline
from harness.engines import store
from harness.engines.store import apt, cache, lock, recipes
from harness.engines.store.errors import NoRoom
from harness.engines.store.lock import Locked, Package

pytestmark = pytest.mark.skipif(
    not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="no apt on this machine"
)

RECIPES = """
[family.tool]
keep = ["usr/share/*/data"]
[component.hammer]
family = "tool"
suites = ["old"]
packages = ["hammer"]
[component.saw]
family = "tool"
suites = ["old"]
packages = ["saw"]
[component.workshop]
family = "tool"
needs = ["hammer", "saw"]
"""
SETTINGS = 'Acquire::http::Proxy "DIRECT";\nAcquire::http::Timeout "5";\nAcquire::Retries "0";\n'
BIG = 1 << 20


@dataclass
class Mirror:
    """Serves a folder; can be slow, or cut a file off. ``asked`` lists the .debs asked for, with the first byte."""

    root: Path
    asked: list[tuple[str, int]] = field(default_factory=list)
    cut: int | None = None
    slow: bool = False
    address: str = ""
    packages: dict[str, Package] = field(default_factory=dict)

    def publish(self, version: str, *, size: int = BIG, suite: str = "old") -> None:
        """Make packages of that version, the only ones that there are."""
        shutil.rmtree(self.root, ignore_errors=True)
        records = [
            self._package("hammer", version, "handle", os.urandom(size)),
            self._package("saw", version, "", b"saw"),
            self._package("handle", version, "", b""),
        ]
        index = self.root / f"dists/{suite}/main/binary-amd64/Packages"
        index.parent.mkdir(parents=True)
        index.write_text("\n".join(records))
        digest, length = hashlib.sha256(index.read_bytes()).hexdigest(), index.stat().st_size
        (self.root / f"dists/{suite}/Release").write_text(
            f"Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: amd64\n"
            f"SHA256:\n {digest} {length} main/binary-amd64/Packages\n"
        )

    def _package(self, name: str, version: str, depends: str, data: bytes) -> str:
        tree = self.root / "build" / name
        (tree / "DEBIAN").mkdir(parents=True)
        content = tree / "usr/share" / name
        content.mkdir(parents=True)
        (content / ("data" if data else "other")).write_bytes(data)
        lines = [f"Package: {name}", f"Version: {version}", "Architecture: amd64", "Maintainer: nobody <n@example>"]
        lines += [f"Depends: {depends}"] if depends else []
        control = "\n".join([*lines, f"Description: {name}"])
        (tree / "DEBIAN/control").write_text(control + "\n")
        deb = self.root / f"pool/main/{name}_{version}_amd64.deb"
        deb.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["dpkg-deb", "--build", "-Znone", "--root-owner-group", tree, deb], check=True, capture_output=True
        )
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        where, size = str(deb.relative_to(self.root)), deb.stat().st_size
        self.packages[name] = Package(
            name=name, version=version, architecture="amd64", size=size, sha256=digest, path=where
        )
        return f"{control}\nFilename: {where}\nSize: {size}\nSHA256: {digest}\n"

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request for a file."""
        path = self.root / request.path.lstrip("/")
        if not path.is_file():
            request.send_response(404)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        data, since = path.read_bytes(), formatdate(int(path.stat().st_mtime), usegmt=True)
        span = request.headers.get("Range", "") if request.headers.get("If-Range") == since else ""
        start = int(span.removeprefix("bytes=").rstrip("-") or 0)
        is_deb = path.suffix == ".deb"
        self.asked += [(path.name, start)] if is_deb else []
        request.send_response(206 if start else 200)
        request.send_header("Last-Modified", since)
        request.send_header("Content-Length", str(len(data) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        if is_deb and self.cut is not None:
            request.wfile.write(data[start : self.cut])
            request.close_connection = True
            return
        for offset in range(start, len(data), 1 << 14):
            request.wfile.write(data[offset : offset + (1 << 14)])
            if is_deb and self.slow:
                time.sleep(0.1)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    """A mirror with hammer and saw in version 1, noted in a lock file; recipes for them; an empty cache."""
    served = Mirror(tmp_path / "mirror")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                served.serve(self)
            except OSError:  # the other side hung up
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    served.publish("1")
    (tmp_path / "recipes.toml").write_text(RECIPES)
    monkeypatch.setattr(recipes, "RECIPES", tmp_path / "recipes.toml")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock.toml")
    monkeypatch.setattr(apt, "source", lambda suite: f"deb [trusted=yes] {served.address} {suite} main\n")
    monkeypatch.setattr(apt, "_machine_settings", lambda: SETTINGS)
    monkeypatch.setenv("SVMCONF_CACHE", str(tmp_path / "cache"))
    recipes.recipes.cache_clear()
    try:
        for name in ("hammer", "saw"):
            lock.write(name, Locked(suite="old", version="1", packages=(served.packages[name],)))
        yield served
    finally:
        recipes.recipes.cache_clear()
        server.shutdown()
        thread.join()
        server.server_close()


def downloads() -> list[Path]:
    return [path for path in (cache.folder() / "downloads").rglob("*") if path.is_file()]


def drafts() -> list[Path]:
    return list((cache.folder() / "drafts").glob("*"))


def test_what_the_lock_file_names_is_brought(mirror: Mirror) -> None:
    stages: list[tuple[str, str]] = []
    store.ensure(["workshop"], lambda name, stage, done, total: stages.append((name, stage)))
    assert (store.tree("hammer").root / "usr/share/hammer/data").stat().st_size == BIG
    assert store.tree("saw").version == "1"
    assert {("hammer", "ready"), ("saw", "ready"), ("hammer", "unpack")} <= set(stages)
    assert not downloads() and not drafts()


def test_update_notes_only_packages_of_which_something_is_kept(mirror: Mirror) -> None:
    mirror.publish("2")
    store.ensure(["hammer"], update=True)
    assert lock.read()["hammer"].packages == (mirror.packages["hammer"],)  # not its handle
    assert lock.read()["saw"].version == "1"
    assert store.tree("hammer").version == "2"


def test_full_cache_needs_neither_network_nor_apt(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    store.ensure(["all"])
    monkeypatch.setenv("PATH", "/nonexistent")
    mirror.asked.clear()
    store.ensure(["all"])
    assert not mirror.asked


def test_damaged_component_is_mended(mirror: Mirror) -> None:
    store.ensure(["saw"])
    data = store.tree("saw").root / "usr/share/saw/data"
    data.write_bytes(b"was")
    os.utime(data, (1, 1))  # the mirror's file is of this very second, which no real one is
    with pytest.raises(store.EngineMissing, match="engine saw is damaged"):
        store.tree("saw")
    store.ensure(["saw"], thorough=True)
    assert data.read_bytes() == b"saw"
    assert not drafts()


def test_gone_version_is_named_with_those_there_are_and_the_rest_is_fetched(mirror: Mirror) -> None:
    store.ensure(["saw"])
    cache.clear("saw")
    saw = (mirror.root / "pool/main/saw_1_amd64.deb").read_bytes()
    mirror.publish("2")
    (cache.folder() / "downloads/saw").mkdir(parents=True)
    (cache.folder() / "downloads/saw/saw_1_amd64.deb").write_bytes(saw)  # what was downloaded stays good
    with pytest.raises(store.FetchFailed) as caught:
        store.ensure(["all"])
    (failure,) = caught.value.failures.values()
    assert failure.what == "old has no hammer 1 any more, it has: 2"
    assert "svmconf engines fetch hammer --update" in failure.hint
    assert store.tree("saw").version == "1"
    store.ensure(["hammer"], update=True)
    assert (store.tree("hammer").version, lock.read()["hammer"].version, lock.read()["saw"].version) == ("2", "2", "1")


def test_library_that_moved_on_stands_in_and_is_named(mirror: Mirror) -> None:
    older = mirror.packages["handle"].model_copy(update={"version": "0", "sha256": "0" * 64})
    lock.write("hammer", Locked(suite="old", version="1", packages=(older, mirror.packages["hammer"])))
    before = lock.LOCK.read_text()
    done = CliRunner().invoke(command, ["fetch", "hammer"])
    assert done.exit_code == 0, done.output
    assert "hammer: handle 1 instead of 0, which the mirror has no more" in done.output
    assert store.tree("hammer").version == "1"
    assert lock.LOCK.read_text() == before
    mirror.asked.clear()
    store.ensure(["hammer"])
    assert not mirror.asked


def test_library_without_a_successor_is_named(mirror: Mirror) -> None:
    gone = mirror.packages["handle"].model_copy(update={"name": "grip", "sha256": "0" * 64})
    lock.write("hammer", Locked(suite="old", version="1", packages=(gone, mirror.packages["hammer"])))
    with pytest.raises(store.FetchFailed, match="old has no grip 1 any more, it has: none of that name"):
        store.ensure(["hammer"])


def test_other_content_than_the_lock_files_is_refused(mirror: Mirror) -> None:
    mirror.publish("1")  # the same version, made anew
    with pytest.raises(store.FetchFailed, match=r"hammer_1_amd64\.deb"):
        store.ensure(["hammer"])
    with pytest.raises(store.EngineMissing):
        store.tree("hammer")


def test_damaged_download_is_thrown_away(mirror: Mirror) -> None:
    place = cache.folder() / "downloads/hammer/hammer_1_amd64.deb"
    place.parent.mkdir(parents=True)
    place.write_bytes(os.urandom((mirror.root / "pool/main/hammer_1_amd64.deb").stat().st_size))
    store.ensure(["hammer"])
    assert store.tree("hammer").version == "1"


def test_download_goes_on_where_the_network_went_away(mirror: Mirror) -> None:
    mirror.cut = BIG // 2
    with pytest.raises(store.FetchFailed, match="hammer: apt-helper download-file for old fails"):
        store.ensure(["hammer"])
    assert [path.stat().st_size for path in downloads()] == [BIG // 2]
    with pytest.raises(store.EngineMissing):
        store.tree("hammer")
    mirror.cut = None
    mirror.asked.clear()
    store.ensure(["hammer"])
    assert mirror.asked == [("hammer_1_amd64.deb", BIG // 2)]


def test_full_disk_is_said_and_leaves_nothing_in_use(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = tmp_path / "bin/dpkg-deb"
    full.parent.mkdir()
    full.write_text(
        '#!/bin/sh\nmkdir -p "$3/usr"\necho "tar: ./usr/x: Cannot write: No space left on device"\nexit 2\n'
    )
    full.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{full.parent}:{os.environ['PATH']}")
        with pytest.raises(store.FetchFailed, match="no room left in") as caught:
            store.ensure(["hammer"])
    assert isinstance(caught.value.failures["hammer"], NoRoom) and "SVMCONF_CACHE" in caught.value.hint
    assert not drafts() and downloads()
    mirror.asked.clear()
    store.ensure(["hammer"])
    assert not mirror.asked  # what was downloaded was kept


# Other processes


@pytest.fixture
def fetching(mirror: Mirror, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process of its own that fetches from the mirror."""
    driver = tmp_path / "driver.py"
    driver.write_text(
        textwrap.dedent(f"""\
        import sys
        from pathlib import Path
        from harness import cli
        from harness.engines.store import apt, lock, recipes
        recipes.RECIPES = Path({str(tmp_path / "recipes.toml")!r})
        lock.LOCK = Path({str(tmp_path / "lock.toml")!r})
        apt.source = lambda suite: f"deb [trusted=yes] {mirror.address} {{suite}} main\\n"
        apt._machine_settings = lambda: {SETTINGS!r}
        sys.argv = ["svmconf", "engines", "fetch", *sys.argv[1:]]
        cli.main()
        """)
    )
    started: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
        process = subprocess.Popen([sys.executable, str(driver), name], text=True, env=env, **pipes)  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(happens: Callable[[], object]) -> None:
    deadline = Deadline.after(30)
    while not happens():
        deadline.check("waiting for a fetch to get somewhere")
        time.sleep(0.02)


def downloading() -> list[str]:
    """The downloads of this test that run, in whatever process."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = one.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "download-file" in words and str(cache.folder()) in words:
            found.append(words)
    return found


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_fetch_leaves_nothing_but_its_download(
    mirror: Mirror, fetching: Callable[[str], subprocess.Popen[str]], blow: signal.Signals
) -> None:
    mirror.slow = True
    process = fetching("hammer")
    until(lambda: sum(path.stat().st_size for path in downloads()) > 1 << 16)
    process.send_signal(blow)
    process.communicate(timeout=10)
    assert process.returncode == (-blow if blow is signal.SIGKILL else 128 + blow)
    until(lambda: not downloading())
    assert downloads() and not drafts()
    with pytest.raises(store.EngineMissing):
        store.tree("hammer")
    mirror.slow = False
    mirror.asked.clear()
    store.ensure(["hammer"])
    assert store.tree("hammer").version == "1"
    if blow is not signal.SIGKILL:  # apt had the time to note what it has in part
        assert mirror.asked[0][1] > 0


def test_two_fetches_at_once_bring_it_once(mirror: Mirror, fetching: Callable[[str], subprocess.Popen[str]]) -> None:
    mirror.slow = True
    both = [fetching("hammer"), fetching("hammer")]
    until(lambda: mirror.asked)
    time.sleep(0.3)
    mirror.slow = False
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert mirror.asked == [("hammer_1_amd64.deb", 0)]
    assert store.tree("hammer").version == "1"


# The command


def test_fetch_tells_what_failed_and_goes_on(mirror: Mirror) -> None:
    mirror.publish("2")
    shutil.copy(mirror.root / "pool/main/saw_2_amd64.deb", mirror.root / "pool/main/saw_1_amd64.deb")
    lock.write("saw", lock.read()["saw"].model_copy(update={"packages": ()}))
    done = CliRunner().invoke(command, ["fetch", "workshop"])
    assert done.exit_code == 1
    assert "svmconf: hammer: old has no hammer 1 any more, it has: 2" in done.output
    assert "way out: svmconf engines fetch hammer --update" in done.output


def test_list_path_and_remove(mirror: Mirror) -> None:
    run = CliRunner()
    assert run.invoke(command, ["fetch", "all"]).output.endswith("2 ready, 0 failed\n")
    assert "hammer" in run.invoke(command, ["list", "--check"]).output
    assert run.invoke(command, ["path", "hammer"]).output.strip() == str(store.tree("hammer").root)
    assert "saw " in run.invoke(command, ["path", "workshop"]).output
    (store.tree("saw").root / "usr/share/saw/data").unlink()
    damaged = run.invoke(command, ["list"])
    assert damaged.exit_code == 1 and "damaged" in damaged.output
    assert run.invoke(command, ["remove", "saw"]).output == "saw: removed\n"
    assert run.invoke(command, ["remove", "--old"]).output == ""
    assert run.invoke(command, ["remove", "--all"]).output == "hammer: removed\n"
    assert {path.name for path in cache.folder().rglob("*") if path.is_file()} <= {
        f"{name}.lock" for name in ("apt-old", "hammer", "saw", "lock-file")
    }
