"""The engine store without a mirror: recipes, lock file, what is kept, what is whole, engines of the user's own."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.engines import store
from harness.engines.store import added, apt, cache, keep, lock
from harness.engines.store.errors import FetchError, Stopped
from harness.engines.store.process import run
from harness.engines.store.recipes import ENGINES, recipes
from harness.engines.store.stamp import Stamp
from harness.errors import EngineError, SvmconfError, ToolMissing

Script = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SVMCONF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SVMCONF_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Makes a program that is a shell script."""

    def make(name: str, body: str) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return make


def installed(name: str, content: bytes = b"kernel", version: str = "1.0", digest: str = "") -> Path:
    """Put a component into the cache; return its file."""
    locked = lock.read()[name]
    with cache.draft(name) as draft:
        file = draft / "root" / "boot" / "vmlinuz"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        (file.parent / "link").symlink_to("vmlinuz")
        digest = digest or locked.digest(recipes().of(name))
        cache.install(draft, Stamp.of(draft / "root", name, "linux", digest, version))
    return cache.folder() / "trees" / name / digest / "root" / "boot" / "vmlinuz"


# Recipes and lock file


def test_recipes_are_about_what_there_is() -> None:
    known = recipes()
    for name, recipe in known.component.items():
        assert recipe.family in known.family, name
        assert set(recipe.needs) <= set(known.component), name
        assert bool(recipe.packages) == bool(recipe.suites), name
        assert recipe.packages or recipe.needs, name


def test_what_is_needed_comes_first_and_once() -> None:
    closure = recipes().closure(("kvm-6.12", "qemu-10.0"))
    assert closure == ("qemu-10.0", "linux-6.12", "kvm-6.12")


def test_every_engine_of_the_issue_can_be_asked_for() -> None:
    rows = "qemu-5.2 qemu-7.2 qemu-10.0.2 qemu-10.0 qemu-11.1 bochs-2.6 bochs-2.7 bochs-3.0 bochs-3.1"
    nested = "kvm-5.10 kvm-6.1 kvm-6.12 kvm-7.3 xen-4.14 xen-4.17 xen-4.20"
    assert set(f"{rows} {nested}".split()) <= set(store.known())
    assert not [name for name in store.known() if recipes().of(name).family not in ENGINES]


def test_unknown_name_is_answered_with_names_that_are_near() -> None:
    with pytest.raises(SvmconfError, match="no engine 'qemu-10'") as caught:
        store.tree("qemu-10")
    assert "qemu-10.0" in caught.value.hint


def test_lock_file_names_every_package_exactly() -> None:
    locked = lock.read()
    assert set(locked) == {name for name, recipe in recipes().component.items() if recipe.packages}
    for name, one in locked.items():
        assert one.suite == recipes().of(name).suite
        for package in one.packages:
            assert re.fullmatch(r"[0-9a-f]{64}", package.sha256), package
            assert package.path.startswith("pool/") and package.size > 0, package
            assert package.architecture in ("amd64", "all"), package


def test_lock_file_is_rewritten_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before, copy = lock.LOCK.read_text(), tmp_path / "lock.toml"
    shutil.copy(lock.LOCK, copy)
    monkeypatch.setattr(lock, "LOCK", copy)
    lock.write("busybox", lock.read()["busybox"])
    assert copy.read_text() == before


# What is kept of packages


def elf(root: Path, program: str) -> list[str]:
    """Copy one of this machine's programs below ``root``, with its libraries where Debian has them."""
    said = run(["ldd", program], Deadline.after(30)).said
    libraries = [Path(path) for path in re.findall(r"(/\S+\.so\S*)", said)]
    where = root / "usr/lib/x86_64-linux-gnu"
    where.mkdir(parents=True)
    (root / "usr/bin").mkdir()
    shutil.copy(program, root / "usr/bin")
    for library in libraries:
        shutil.copy(library, where)
    return [library.name for library in libraries]


@pytest.mark.skipif(not Path("/lib/x86_64-linux-gnu/libc.so.6").exists(), reason="no Debian libraries on this machine")
def test_program_is_kept_with_its_libraries_and_nothing_else(tmp_path: Path) -> None:
    libraries = elf(tmp_path, "/bin/ls")
    where = tmp_path / "usr/lib/x86_64-linux-gnu"
    (where / "libc.so.6").rename(where / "libc-2.99.so")
    (where / "libc.so.6").symlink_to("libc-2.99.so")
    (where / "libunwanted.so.1").write_bytes(b"\x7fELF")
    kept = {path.name for path in keep.needed(tmp_path, ("usr/bin/*",))}
    assert kept == {"ls", "libc-2.99.so", *libraries}


def test_links_are_not_followed_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "root/bin").mkdir(parents=True)
    (tmp_path / "secret").write_text("")
    (tmp_path / "root/bin/link").symlink_to("../../secret")
    assert keep.needed(tmp_path / "root", ("bin/*",)) == {Path("bin/link")}


def test_loader_is_a_file_of_the_tree(tmp_path: Path) -> None:
    folder = tmp_path / "lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (folder / "ld-linux-x86-64.so.2").symlink_to("/lib64/ld-linux-x86-64.so.2")  # that would be the host's
    assert keep.loader(tmp_path) is None
    (folder / "ld-2.31.so").write_text("")
    assert keep.loader(tmp_path) == folder / "ld-2.31.so"


# What is whole


def test_ready_component_is_found() -> None:
    file = installed("linux-6.12", version="6.12.1-1")
    tree = store.tree("linux-6.12")
    assert (tree.version, tree.root) == ("6.12.1-1", file.parent.parent)
    assert standing("linux-6.12").state is store.State.READY


def standing(name: str, thorough: bool = False) -> store.Installed:
    return next(one for one in store.installed(thorough) if one.name == name)


def test_missing_component_names_the_command() -> None:
    with pytest.raises(store.EngineMissing, match=r"engine linux-6\.12 is not fetched") as caught:
        store.tree("linux-6.12")
    assert caught.value.hint == "svmconf engines fetch linux-6.12"
    assert standing("linux-6.12").state is store.State.MISSING


def changed(file: Path) -> None:
    file.write_bytes(b"Kernel")
    os.utime(file, (1, 1))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (changed, "boot/vmlinuz has another content"),
        (lambda file: file.write_bytes(b""), "boot/vmlinuz has 0 bytes, not 6"),
        (Path.unlink, "boot/vmlinuz: No such file"),
        (lambda file: file.with_name("link").unlink(), "boot/link: No such file"),
    ],
)
def test_damaged_component_is_never_used(harm: Callable[[Path], None], says: str) -> None:
    harm(installed("linux-6.12"))
    with pytest.raises(store.EngineMissing, match=f"engine linux-6.12 is damaged: {says}") as caught:
        store.tree("linux-6.12")
    assert "fetch linux-6.12" in caught.value.hint
    assert standing("linux-6.12").state is store.State.DAMAGED


def test_damage_that_hides_its_time_is_found_by_a_thorough_look() -> None:
    file = installed("linux-6.12")
    stat = file.stat()
    file.write_bytes(b"Kernel")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert standing("linux-6.12").state is store.State.READY
    assert standing("linux-6.12", thorough=True).state is store.State.DAMAGED


def test_copied_cache_is_good_although_its_times_differ() -> None:
    os.utime(installed("linux-6.12"), (1, 1))
    assert store.tree("linux-6.12").version == "1.0"


def test_other_version_than_the_lock_files_is_old_but_works() -> None:
    installed("linux-6.12", version="0.9", digest="0123456789ab")
    one = standing("linux-6.12")
    assert one.state is store.State.OLD and lock.read()["linux-6.12"].version in one.detail
    assert store.tree("linux-6.12").version == "0.9"
    installed("linux-6.12", version="1.0")
    assert store.tree("linux-6.12").version == "1.0"
    assert cache.clear("linux-6.12", keep=lock.read()["linux-6.12"].digest(recipes().of("linux-6.12"))) == 1
    assert [kept.stamp.version for kept in cache.kept("linux-6.12")] == ["1.0"]


def test_engine_lacks_what_it_needs() -> None:
    installed("linux-6.12")
    one = standing("kvm-6.12")
    assert one.state is store.State.LACKING
    assert one.detail == "lacks qemu-10.0"


def test_nested_engine_is_no_program() -> None:
    with pytest.raises(EngineError, match=r"kvm-6\.12 is not one program"):
        store.runnable("kvm-6.12")


def test_unfinished_drafts_are_swept_but_not_those_in_use() -> None:
    drafts = cache.folder() / "drafts"
    (drafts / "busybox=dead" / "root").mkdir(parents=True)
    (drafts / "linux-6.1=alive").mkdir()
    with cache.guard("linux-6.1"):
        cache.sweep()
    assert [left.name for left in drafts.iterdir()] == ["linux-6.1=alive"]


def test_waiting_for_another_process_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with cache.guard("busybox"):
        with pytest.raises(Stopped), cache.guard("busybox", stop):
            pass
        with pytest.raises(EngineError, match="busybox: another process"), cache.guard("busybox", wait=0):
            pass


# The machine's apt


def test_mirror_is_the_setting_or_what_the_machine_uses(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    lines = [
        "http://mirror.example/debian-security/|main|bookworm-security|Debian-Security",
        "http://other.example/stuff/|main|nodistro|Stuff",
        "http://mirror.example/debian/|main|bookworm|Debian",
    ]
    folder = script("apt-get", "printf '%s\\n' " + " ".join(f"'{line}'" for line in lines)).parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert apt.mirror() == "http://mirror.example/debian/"
    monkeypatch.setenv("SVMCONF_MIRROR", "http://mine.example/debian")
    assert apt.mirror() == "http://mine.example/debian"


def test_mirror_is_recognized_before_any_list_was_read(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    folder = script("apt-get", "echo 'http://mirror.example/debian|main|bookworm|'").parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    assert apt.mirror() == "http://mirror.example/debian"


def test_machine_without_a_debian_mirror(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    folder = script("apt-get", "echo 'http://mirror.example/ubuntu/|main|jammy|Ubuntu'").parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with pytest.raises(FetchError, match="names no Debian mirror") as caught:
        apt.mirror()
    assert "SVMCONF_MIRROR" in caught.value.hint


def test_machines_proxies_hold(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    script("apt-get", "exit 0")
    folder = script("apt-config", "echo 'Acquire::http::Proxy \"http://proxy.example:3128\";'").parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SVMCONF_MIRROR", "http://mine.example/debian")
    one = apt.Apt(("bookworm", "bookworm-backports"))
    one.refresh()
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in (one.folder / "apt.conf").read_text()
    assert "http://mine.example/debian bookworm-backports main" in (one.folder / "etc/sources.list").read_text()
    assert "release n=bookworm-backports" in (one.folder / "etc/preferences").read_text()


def test_machine_without_apt_is_shown_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(store.FetchFailed, match="no apt-get here") as caught:
        store.ensure(["busybox"])
    assert "svmconf engines add" in caught.value.hint
    assert isinstance(caught.value.failures["busybox"], ToolMissing)


# Engines of the user's own


def test_own_engine_is_known_by_its_own_words(script: Script) -> None:
    binary = script("my-build", 'echo "QEMU emulator version 9.1.50 (v9.1.0-12-gabc)"')
    run = added.add("my-qemu", binary, data=binary.parent, env={"K": "V"})
    assert (run.family, run.env, run.arguments) == ("qemu", {"K": "V"}, ("-L", str(binary.parent)))
    assert run.version.startswith("9.1.50 (v9.1.0-12-gabc), sha256 ")
    assert "my-qemu" in store.known() and store.runnable("my-qemu") == run
    assert standing("my-qemu").state is store.State.READY
    added.remove("my-qemu")
    assert "my-qemu" not in store.known()


def test_own_engine_that_was_rebuilt_is_asked_again(script: Script) -> None:
    added.add("mine", script("my-build", 'echo "                 Bochs x86 Emulator 2.8"'))
    script("my-build", 'echo "                 Bochs x86 Emulator 2.8.devel"')
    assert store.runnable("mine").version.startswith("2.8.devel, sha256 ")
    assert added.registry().engines["mine"].runnable == store.runnable("mine")


def test_own_engine_that_is_gone(script: Script) -> None:
    binary = script("my-build", 'echo "QEMU emulator version 9.1.50"')
    added.add("mine", binary)
    binary.unlink()
    assert standing("mine").state is store.State.MISSING
    with pytest.raises(store.EngineMissing, match="my-build is gone"):
        store.runnable("mine")


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("mine", "echo 'GNU hello 2.12'", "is no QEMU and no Bochs that runs here: it says 'GNU hello 2.12'"),
        ("mine", "exit 127", "it says 'nothing'"),
        ("qemu-7.2", "echo 'QEMU emulator version 7.2.0'", "cannot be named 'qemu-7.2'"),
        ("../mine", "echo 'QEMU emulator version 7.2.0'", "cannot be named '../mine'"),
    ],
)
def test_what_is_no_engine_is_not_registered(script: Script, name: str, body: str, says: str) -> None:
    with pytest.raises(SvmconfError, match=re.escape(says)):
        added.add(name, script("my-build", body))
    assert not added.registry().engines
