"""JUnit XML, for CI systems."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from harness.ledger import Ledger, Verdict

_ELEMENT = {
    Verdict.FAIL: "failure",
    Verdict.ERROR: "error",
    Verdict.NOT_RUN: "error",
    Verdict.SKIP: "skipped",
    Verdict.EXPECTED_FAIL: "skipped",
}


def write(ledger: Ledger, path: Path) -> None:
    """One suite, one test case an entry; engine, version and CPU model as properties."""
    kinds = [_ELEMENT.get(entry.verdict) for entry in ledger.entries]
    suite = ElementTree.Element(
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
        module, _, name = entry.case.partition("::")
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=module.removesuffix(".py").replace("/", "."),
            name=name,
            time=f"{entry.seconds:.3f}",
        )
        properties = ElementTree.SubElement(case, "properties")
        for key, value in (
            ("requirements", " ".join(entry.requirements)),
            ("engine", entry.engine),
            ("engine_version", entry.engine_version),
            ("cpu", entry.cpu),
            ("verdict", entry.verdict),
        ):
            ElementTree.SubElement(properties, "property", name=key, value=value)
        element = _ELEMENT.get(entry.verdict)
        if element:
            reason = _printable(entry.reason)
            ElementTree.SubElement(
                case, element, message=f"{entry.verdict}: {reason.splitlines()[0] if reason else ''}"
            ).text = reason
    tree = ElementTree.ElementTree(suite)
    ElementTree.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    """Without the control characters that XML has no way to say."""
    return "".join(c if c >= " " or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
