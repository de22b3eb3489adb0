"""JUnit XML, for CI systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.ledger import Entry, Ledger, Verdict

_ELEMENT = {
    Verdict.FAIL: "failure",
    Verdict.ERROR: "error",
    Verdict.NOT_RUN: "error",
    Verdict.SKIP: "skipped",
    Verdict.EXPECTED_FAIL: "skipped",
}
_TEXT = str.maketrans(
    {chr(control): "\N{REPLACEMENT CHARACTER}" for control in {*range(32)} - {*b"\t\n"}}
    | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
)
"""What stands for characters that XML takes for its own, or has no way to say."""

_ATTRIBUTE = _TEXT | str.maketrans({'"': "&quot;", "\t": "&#9;", "\n": "&#10;"})


def write(ledger: Ledger, path: Path) -> None:
    """One suite, one test case an entry; engine, version and CPU model as properties."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(_lines(ledger))


def _lines(ledger: Ledger) -> Iterator[str]:
    """The document as text: a tree of a hundred thousand cases would be larger than the ledger."""
    kinds = [_ELEMENT.get(entry.verdict) for entry in ledger.entries]
    yield "<?xml version='1.0' encoding='utf-8'?>\n"
    yield _tag(
        "testsuite",
        name=f"svmconf {ledger.header.hypervisor} on {ledger.header.on}",
        timestamp=ledger.header.started.removesuffix("Z"),
        tests=str(len(ledger.entries)),
        failures=str(kinds.count("failure")),
        errors=str(kinds.count("error")),
        skipped=str(kinds.count("skipped")),
        time=f"{sum(e.seconds for e in ledger.entries):.3f}",
    )
    for entry in ledger.entries:
        yield from _case(entry)
    yield "</testsuite>\n"


def _case(entry: Entry) -> Iterator[str]:
    module, _, name = entry.case.partition("::")
    place = module.removesuffix(".py").replace("/", ".")
    yield "  " + _tag("testcase", classname=place, name=name, time=f"{entry.seconds:.3f}")
    yield "    <properties>\n"
    for key, value in (
        ("requirements", " ".join(entry.requirements)),
        ("engine", entry.engine),
        ("engine_version", entry.engine_version),
        ("cpu", entry.cpu),
        ("verdict", entry.verdict),
    ):
        yield f'      <property name="{key}" value={_quoted(value)} />\n'
    yield "    </properties>\n"
    if kind := _ELEMENT.get(entry.verdict):
        message = f"{entry.verdict}: {next(iter(entry.reason.splitlines()), '')}"
        yield f"    <{kind} message={_quoted(message)}>{entry.reason.translate(_TEXT)}</{kind}>\n"
    yield "  </testcase>\n"


def _tag(name: str, /, **attributes: str) -> str:
    return f"<{name} {' '.join(f'{key}={_quoted(value)}' for key, value in attributes.items())}>\n"


def _quoted(value: str) -> str:
    return f'"{value.translate(_ATTRIBUTE)}"'
