"""The files of CI and tox: valid by the published schemas, about the same engines, and nothing lives in them alone."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from harness import paths
from harness.engines import select, store
from harness.engines.store import added

GITHUB = paths.ROOT / ".github" / "workflows" / "ci.yml"
GITLAB = paths.ROOT / ".gitlab-ci.yml"
SCHEMAS = {GITHUB: ("vendor.github-workflows",), GITLAB: ("vendor.gitlab-ci", "--data-transform", "gitlab-ci")}
ENGINES = {select.SYSTEM, *store.known()} - set(added.registry().engines)


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(path)
    return content


def check(file: Path, schema: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: it has the schemas")
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *schema, str(file)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_valid_by_the_published_schema(file: Path) -> None:
    done = check(file, SCHEMAS[file])
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", SCHEMAS, ids=lambda file: file.name)
def test_the_schema_would_refuse_a_mistake(file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / file.name
    text = file.read_text()
    wrong.write_text(re.sub(r"^( +)(needs: \[?conformance\]?)$", r"\1\2\n\1when: 7\n\1if: []", text, flags=re.M))
    assert wrong.read_text() != text
    assert check(wrong, SCHEMAS[file]).returncode == 1


def commands() -> list[tuple[str, str]]:
    """Every command that the two files run, with the file's name."""
    github = [step["run"] for job in load(GITHUB)["jobs"].values() for step in job["steps"] if "run" in step]
    gitlab = [line for job in load(GITLAB).values() if isinstance(job, dict) for line in job.get("script", ())]
    return [(GITHUB.name, line) for line in github] + [(GITLAB.name, line) for line in gitlab]


@pytest.mark.parametrize(("_file", "line"), commands())
def test_only_svmconf_and_tox_are_called(_file: str, line: str) -> None:
    words = shlex.split(line)
    assert words[0] in ("./svmconf", ".venv/bin/tox")
    assert not re.search(r"[;&|<>`\n]|\$\(", line), "one command, that a person can type"
    if words[0] == "./svmconf":
        options = {word.partition("=")[0] for word in words[2:] if word.startswith("-")}
        assert options <= options_of(words[1])
    else:
        assert words[1] == "-e" and set(words[2].split(",")) <= {"lint", "unit", "conformance", "matrix", *ENGINES}


def options_of(name: str) -> set[str]:
    command: click.Command = importlib.import_module(f"harness.commands.{name}").command
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_there_are_commands() -> None:
    assert {name for name, _ in commands()} == {GITHUB.name, GITLAB.name}
    called = [shlex.split(line)[:2] for _, line in commands()]
    for command, in_each in (("run", 2), ("matrix", 1), ("merge", 1)):
        assert called.count(["./svmconf", command]) == 2 * in_each


def test_both_run_the_same_at_length() -> None:
    github = load(GITHUB)["jobs"]["long"]["strategy"]["matrix"]
    gitlab = load(GITLAB)["long"]["parallel"]["matrix"][0]
    assert (github["engine"], github["what"]) == (gitlab["ENGINE"], gitlab["WHAT"])
    assert set(github["engine"]) <= ENGINES
    for what in github["what"]:
        options = {word for word in shlex.split(f"--guest {what}") if word.startswith("-")}
        assert options <= options_of("run")


def test_both_run_every_engine_in_every_shard() -> None:
    github = load(GITHUB)["jobs"]["conformance"]["strategy"]["matrix"]
    gitlab = load(GITLAB)["conformance"]["parallel"]["matrix"][0]
    assert set(github["engine"]) == set(gitlab["ENGINE"]) == ENGINES
    assert list(map(str, github["shard"])) == gitlab["SHARD"] == ["1", "2"]
    for _, line in commands():
        assert "--shard" not in line or "/2 " in line


def tox(*arguments: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tox", *arguments, "--workdir", str(folder)],
        cwd=paths.ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_tox_has_an_environment_for_every_engine(tmp_path: Path) -> None:
    pytest.importorskip("tox", reason="tox is not installed")
    listed = set(tox("list", "--no-desc", folder=tmp_path).split())
    assert listed >= ENGINES | {"matrix", "lint", "unit", "conformance"}
    families = {name.partition("-")[0] for name in ENGINES}
    assert {name for name in listed if name.partition("-")[0] in families} == ENGINES
    default = tox("list", "--no-desc", "-d", folder=tmp_path).split()
    assert default == ["lint", "unit", "conformance"], "engines only when asked for"


@pytest.mark.parametrize("name", ["qemu-10.0", "bochs-3.1", "kvm-6.12", "xen-4.17"])
def test_tox_runs_that_engine(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tox", reason="tox is not installed")
    said = tox("config", "-e", name, "-k", "commands", folder=tmp_path)
    assert f"-m harness.cli run --fetch --no-allure --engine {name}\n" in said
