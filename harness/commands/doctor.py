"""``svmconf doctor``: what this machine offers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table

from harness import paths
from harness.engines import kvm, select, store
from harness.engines.qemu import Qemu
from harness.errors import SvmconfError
from harness.report import allure_report


@dataclass(frozen=True)
class Finding:
    """One line of the table: good, bad, or good to have."""

    what: str
    good: bool
    found: str
    way_out: str = ""
    needed: bool = True


@click.command()
def command() -> None:
    """Tell which engines and tools this machine has, whether KVM offers SVM and why, and how to get what is missing."""
    findings = [_python(), *_engines(), _kvm(), _store(), *_tools(), _allure(), _scratch()]
    table = Table(box=None, header_style="dim")
    for column in ("", "what", "found", "way out"):
        table.add_column(column, overflow="fold")
    for f in findings:
        mark = "[green]ok[/]" if f.good else "[red]missing[/]" if f.needed else "[yellow]without[/]"
        table.add_row(mark, f.what, f.found, f.way_out)
    Console().print(table)
    sys.exit(any(f.needed and not f.good for f in findings))


def _python() -> Finding:
    return Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0], "Python 3.11 or newer")


def _engines() -> list[Finding]:
    try:
        qemu = Qemu.of_system(select.binary())
        models = qemu.cpu_models().values()
    except SvmconfError as error:
        return [Finding("engine: QEMU", False, error.what, error.hint)]
    svm = [model for model in models if model.svm]
    nested = sum(model.npt for model in svm)
    found = f"QEMU {qemu.version}, TCG; {len(svm)} CPU models with SVM, {nested} of them with nested paging"
    return [Finding(f"engine: {qemu.name}", bool(svm), found)]


def _kvm() -> Finding:
    found = kvm.detect()
    hint = "" if found.svm else "not needed: TCG emulates SVM"
    return Finding("engine: KVM with SVM", found.svm, found.why, hint, needed=False)


def _store() -> Finding:
    known, ready = store.known(), {one.name for one in store.installed() if one.state is store.State.READY}
    here = [name for name in known if name in ready]
    found = f"{len(here)} of {len(known)} are here" + (f": {', '.join(here)}" if here else "")
    way_out = "" if len(here) == len(known) else "svmconf engines fetch all; the everyday engine needs none"
    return Finding("engines by name", bool(here), found, way_out, needed=False)


def _tools() -> list[Finding]:
    return [
        _tool("nasm", "--version", "apt-get install nasm"),
        _tool("cargo", "--version", "Rust 1.85 or newer: apt-get install cargo-web rustc-web (Debian 12), or rustup"),
        _tool("rustc", "--version", "comes with cargo"),
        _tool("cc", "--version", "apt-get install gcc"),
        _tool("node", "--version", "apt-get install nodejs npm: only the Allure report needs it", needed=False),
    ]


def _tool(name: str, argument: str, way_out: str, needed: bool = True) -> Finding:
    if shutil.which(name) is None:
        return Finding(name, False, "not on this machine", way_out, needed)
    said = subprocess.run([name, argument], capture_output=True, text=True).stdout
    version = re.search(r"\d+\.\d+[.\d]*", said)
    return Finding(name, version is not None, version[0] if version else said[:40], "" if version else way_out, needed)


def _allure() -> Finding:
    tool = allure_report.generator()
    found = "installed in .tools" if tool else "not installed; the summary is written all the same"
    return Finding(
        "Allure's generator", tool is not None, found, "" if tool else "./svmconf run, with npm", needed=False
    )


def _scratch() -> Finding:
    free = shutil.disk_usage(paths.ROOT).free
    return Finding("disk", free > 1 << 30, f"{free >> 30} GiB free", "2 GiB are needed")
