"""A hypervisor's manifest: the image, how it boots, and how its outcomes show.

::

    name = "mine"
    image = "build/mine.elf"          # relative to the manifest
    cmdline = "console=ttyS0"

    [[outcome]]
    name = "refused.no-svm"           # the names of docs/protocol.md, so that cases can judge them
    console = "SVM is not supported"  # a regular expression on the console ...

    [[outcome]]
    name = "guest-finished"
    exit = 0x10                       # ... or what it writes to the exit port
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from harness import paths
from harness.boot import Boot
from harness.errors import ManifestError


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


def _problem(problem: ErrorDetails) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] != "extra_forbidden":
        return f"{place}: {problem['msg']}"
    key = str(problem["loc"][-1])
    near = difflib.get_close_matches(key, (*Manifest.model_fields, *Outcome.model_fields), 1)
    return f"unknown key {place}" + (f", did you mean {near[0]}?" if near else "")


class Outcome(BaseModel):
    """How one outcome shows: by what is written to the exit port (7 bits), or by a regular expression."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    exit: int | None = Field(default=None, ge=0, le=0x7F)
    console: Annotated[str, AfterValidator(_compiles)] | None = None

    @model_validator(mode="after")
    def _shows_somehow(self) -> Outcome:
        if (self.exit is None) == (self.console is None):
            raise ValueError("needs either `exit` or `console`")
        return self


class Manifest(BaseModel):
    """A hypervisor under test.

    ``guests`` are the names a case may ask for, with commas between them where it runs ``several``; ``guest_word`` and
    ``count_word`` are how to ask on the command line (empty: there is nothing to say).
    ``records`` tells that it prints the records of docs/protocol.md. ``modules`` tells that it boots a Linux that comes
    as two boot modules: the kernel, whose string is a name and then the kernel's command line, and an initramfs; the
    Linux has at most as many processors as ``processors`` says, and so has any machine that it is booted on.
    ``memory`` is in MiB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    image: Path
    cmdline: str = ""
    memory: int = Field(default=128, ge=8, le=4096)
    seconds: float = Field(default=10.0, gt=0)
    records: bool = False
    modules: bool = False
    processors: int = Field(default=1, ge=1)
    guests: tuple[str, ...] = ()
    several: bool = False
    guest_word: str = "guest={}"
    count_word: str = "count={}"
    outcome: tuple[Outcome, ...] = ()

    def command_line(self, boot: Boot) -> str:
        """The command line for one boot."""
        words = [self.cmdline]
        if boot.guest is not None:
            words.append(self.guest_word.format(boot.guest))
        if boot.count is not None:
            words.append(self.count_word.format(boot.count))
        return " ".join(filter(None, (*words, *boot.words)))

    def offers(self, boot: Boot) -> bool:
        """Whether it has the guest that is asked for."""
        return not self.refuses(boot)

    def refuses(self, boot: Boot) -> str:
        """Why it cannot run the guest that is asked for; empty when it can."""
        if boot.guest is None or self._has(boot.guest) or (boot.linux and self.modules):
            few = boot.all_processors > self.processors
            return f"uses {self.processors} processor only" if few else ""
        return f"offers no guest {boot.guest!r}"

    def _has(self, guest: str) -> bool:
        names = guest.split(",")
        return set(names) <= set(self.guests) and (self.several or len(names) == 1)

    def memory_for(self, boot: Boot) -> int:
        """How much the machine needs, in MiB."""
        if boot.memory is not None:
            return boot.memory
        return max(self.memory, boot.linux.memory) if boot.linux else self.memory

    def seconds_for(self, boot: Boot) -> float:
        """How long one boot may take."""
        return boot.seconds or (boot.linux.seconds if boot.linux else self.seconds)

    def outcome_of(self, code: int | None, console: str) -> str | None:
        """The name of the outcome that an exit code or the console shows, if any."""
        for outcome in self.outcome:
            if outcome.exit is not None and outcome.exit == code:
                return outcome.name
            if outcome.console is not None and re.search(outcome.console, console):
                return outcome.name
        return None

    def knows(self, outcome: str) -> bool:
        """Whether it says how that outcome shows."""
        return any(known.name == outcome for known in self.outcome)

    @property
    def watches_console(self) -> bool:
        """Whether an outcome can show before the machine ends."""
        return any(outcome.console is not None for outcome in self.outcome)


def load(name: str) -> Manifest:
    """A manifest by the name of one of ours, or by path; raise :class:`ManifestError` with the line to mend."""
    path = Path(name) if name.endswith(".toml") else paths.MANIFESTS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in paths.MANIFESTS.glob("*.toml")))
        raise ManifestError(f"no hypervisor manifest {name!r}", f"give a path to a .toml file, or one of: {known}")
    try:
        content = tomllib.loads(path.read_text())
        manifest = Manifest.model_validate(content)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from error
    except ValidationError as error:
        # An unknown key comes first: it is why another seems to be missing.
        problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
        raise ManifestError(f"{path}: {'; '.join(map(_problem, problems))}", "README, 'Your own hypervisor'") from error
    return manifest.model_copy(update={"image": (path.parent / manifest.image).resolve()})
