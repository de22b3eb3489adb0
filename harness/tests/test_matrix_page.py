"""The matrix page in a browser: what its script hides, opens, and says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from urllib.parse import quote

import pytest

from harness.ledger import Verdict
from harness.report import matrix, matrix_page
from harness.tests.ledgers import boot, entry, ledger

ENGINES = ("qemu-5.2", "qemu-7.2", "bochs-3.0")
Page = Callable[..., str]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page's elements after its script has run, opened with such a fragment."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine to run the page's script in")
    folder = tmp_path_factory.mktemp("page")
    entries = [entry("test_good", name, requirements=["SVM-15.4-001"], evidence="boot") for name in ENGINES]
    entries += [entry("test_odd", name, requirements=["SVM-15.4-002"]) for name in ENGINES[:2]]
    entries.append(entry("test_odd", ENGINES[0], Verdict.SKIP, "no NPT", requirements=["SVM-15.4-002"], cpu="qemu64"))
    entries.append(
        entry("test_odd", ENGINES[2], Verdict.FAIL, "<b>vector</b> 13\nnot 6", requirements=["SVM-15.4-002"])
    )
    known = Verdict.EXPECTED_FAIL, "x: it runs (cause; link)"
    entries += [entry("test_known", name, *known, requirements=["SVM-15.5.1-004"]) for name in ENGINES]
    made = ledger(
        ENGINES, entries, [boot("boot", "e", layers=["KVM answers"])], unavailable={"xen-4.17": "not fetched"}
    )
    matrix_page.write(matrix.of(made), folder)

    def opened(**state: str) -> str:
        fragment = "&".join(f"{key}={quote(value)}" for key, value in state.items())
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"),
                *("--dump-dom", f"file://{folder}/matrix.html#{fragment}"),
            ],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "</html>" in done.stdout, done.stderr
        return done.stdout

    return opened


def rows(dom: str) -> list[str]:
    """The ids of the rows that are shown."""
    return [tag[1] for tag in re.finditer(r'<tr id="([^"]+)"([^>]*)>', dom) if "hidden" not in tag[2]]


@pytest.mark.parametrize(
    ("state", "expected", "says"),
    [
        ({}, ["SVM-15.4-001", "SVM-15.4-002", "SVM-15.5.1-004"], "3 rows"),
        ({"show": "differs"}, ["SVM-15.4-002"], "1 of 3 rows"),
        ({"show": "bad"}, ["SVM-15.4-002", "SVM-15.5.1-004"], "2 of 3 rows"),
        ({"section": "2"}, ["SVM-15.5.1-004"], "1 of 3 rows"),
        ({"find": "vector TEST_odd"}, ["SVM-15.4-002"], "1 of 3 rows"),
        ({"find": "no such word"}, [], "0 of 3 rows"),
    ],
)
def test_filters(page: Page, state: dict[str, str], expected: list[str], says: str) -> None:
    dom = page(**state)
    assert rows(dom) == expected
    assert f">{says}</output>" in dom
    assert ('id="none" hidden' not in dom) is (expected == [])


def test_details_of_a_cell(page: Page) -> None:
    dialog = page(cell="SVM-15.4-002 bochs-3.0").partition("<dialog")[2].partition("</dialog>")[0]
    assert " open" in dialog.partition(">")[0]
    assert "SVM-15.4-002</a> on bochs-3.0" in dialog and "Claim of test_odd." in dialog
    assert "&lt;b&gt;vector&lt;/b&gt; 13\nnot 6" in dialog
    assert "svmconf run --engine bochs-3.0 --cpu EPYC -k test_odd" in dialog
    assert "pass</b> qemu-5.2, qemu-7.2" in dialog


def test_details_say_which_layers_there_are(page: Page) -> None:
    assert "KVM answers" in page(cell="SVM-15.4-001 qemu-5.2").partition("<dialog")[2]
