"""The site in headless Chromium, by Playwright: filters, keys, copying, and what axe-core has to say about it.

``./svmconf test`` brings the system's Chromium; without one these tests are skipped, in CI they fail.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from harness import ledger as ledger_file
from harness.report import site
from harness.report.site import history
from harness.spec import catalogue
from harness.tests import ledgers, sites
from harness.tests.sites import AFTER, BEFORE, HYPERVISOR, NEW, OLD, PLATFORM

Opened = Callable[..., Page]

PAGES = (
    *("index.html", "manual.html", "matrix.html", "trends.html", "vmcb.html#boot=boot-old&dump=0", f"e/{OLD}.html"),
    *(f"e/{NEW}.html", f"r/{HYPERVISOR}.html", f"r/{PLATFORM}.html", f"r/{sites.known().requirement}.html"),
    *("x/boot-old.html", f"src/{sites.source_page()}.html"),
)
_GRAVE = ("serious", "critical")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with trends, too: the same run was there the day before."""
    folder = tmp_path_factory.mktemp("runs")
    before = folder / "before" / "ledger.jsonl"
    before.parent.mkdir()
    ledger_file.settle(sites.everything("before", "2026-01-01T00:00:00Z"), before.parent)
    now = sites.everything()
    site.write(now, folder / "site", history.look_back(now, history.find(now.header, runs=folder)))
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def opened(browser: Browser, made: Path) -> Iterator[Opened]:
    """Opens a page of the site; whatever goes to the console is an error in the end."""
    said: list[str] = []
    contexts: list[BrowserContext] = []

    def go(place: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{place}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"{place}: {error}"))
        page.on("requestfailed", lambda request: said.append(f"{place}: {request.url} failed"))
        page.goto(f"{made.as_uri()}/{place}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == []


def shown(page: Page, what: str) -> list[str]:
    """The texts of those elements that can be seen."""
    script = "all => all.filter(one => one.checkVisibility()).map(one => one.innerText)"
    texts: list[str] = page.locator(what).evaluate_all(script)
    return texts


def wait_for(page: Page, text: str, where: str) -> None:
    page.locator(where, has_text=re.compile(text)).wait_for(timeout=5000)


UNFOLD = """
for (const one of document.querySelectorAll('details')) one.open = true;
for (const list of document.querySelectorAll('ul, tbody')) for (const one of [...list.children].slice(8)) one.remove();
"""
"""Everything is open, and of what there are hundreds a few stand for all: axe looks at each pixel of text."""


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("place", PAGES)
def test_axe_finds_no_serious_fault(opened: Opened, place: str, colours: str) -> None:
    page = opened(place, color_scheme=colours)
    if place.startswith("vmcb"):
        wait_for(page, "exitcode", "#fields tr.changed")
    page.evaluate(UNFOLD)
    found = Axe().run(page, options={"preload": False}).response["violations"]
    grave = [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found if one["impact"] in _GRAVE]
    assert grave == []


@pytest.mark.parametrize("place", PAGES)
def test_a_phone_needs_no_sideways_scrolling(opened: Opened, place: str) -> None:
    page = opened(place, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


# The manual's tree


def test_the_tree_unfolds_and_filters(opened: Opened) -> None:
    page = opened("manual.html")
    items = ".requirements li"
    assert shown(page, items) == []
    page.keyboard.press("/")
    page.keyboard.type("vmrun at cpl")
    found = shown(page, items)
    assert found and all("VMRUN" in text for text in found) and any(text.startswith(PLATFORM) for text in found)
    assert page.locator("#shown").inner_text() == f"{len(found)} of {len(catalogue.load())}"
    page.locator("#status").select_option("untestable")
    assert shown(page, items) == [] and page.locator("#none").is_visible()
    page.locator("#find").fill("")
    count = sum(it.status == "untestable" for it in catalogue.load().values())
    assert len(shown(page, items)) == count
    assert "status=untestable" in page.url
    page.reload()
    assert len(shown(page, items)) == count


def test_only_what_deviates(opened: Opened) -> None:
    page = opened("manual.html")
    page.locator("#deviates").check()
    found = " ".join(shown(page, ".requirements li"))
    assert PLATFORM in found and "15.5.1-001" not in found


def test_a_link_into_the_tree_unfolds_it(opened: Opened) -> None:
    page = opened(f"r/{PLATFORM}.html")
    page.get_by_role("link", name="15.5.1", exact=True).click()
    page.locator(f'a[href="r/{PLATFORM}.html"]').wait_for(state="visible", timeout=5000)
    page.evaluate("location.hash = 's15.4'")
    page.locator('a[href="r/SVM-15.4-001.html"]').wait_for(state="visible", timeout=5000)


def test_all_can_be_unfolded_and_folded(opened: Opened) -> None:
    page = opened("manual.html")
    page.locator("#fold").click()
    assert len(shown(page, ".requirements li")) == len(catalogue.load())
    page.locator("#fold").click()
    assert shown(page, ".requirements li") == []


# The matrix


def rows(page: Page) -> set[str]:
    script = "[...document.querySelectorAll('tbody tr:not(.section)')].filter(tr => tr.offsetHeight).map(tr => tr.id)"
    return set(page.evaluate(script))


def test_the_matrix_filters(opened: Opened) -> None:
    page = opened("matrix.html")
    assert rows(page) == set(catalogue.load())
    known = sites.known().requirement
    page.locator("#show").select_option("differs")
    assert rows(page) == {HYPERVISOR, PLATFORM, known}
    page.locator("#show").select_option("bad")
    assert rows(page) == {HYPERVISOR, PLATFORM, sites.OTHER, known}
    page.locator("#show").select_option("ran")
    page.locator("#find").fill("crashed")
    assert rows(page) == {sites.OTHER}
    page.locator("#find").fill("")
    page.locator("#show").select_option("")
    for priority in ("must", "should", "may"):
        page.locator("#priority").select_option(priority)
        assert rows(page) == {id for id, it in catalogue.load().items() if it.priority == priority}
    page.locator("#priority").select_option("")
    page.locator("#section").select_option(label="15.4 Enabling SVM")
    assert rows(page) == {id for id, it in catalogue.load().items() if it.section == "15.4"}


def test_the_matrix_has_headers_that_stay(opened: Opened) -> None:
    page = opened("matrix.html")
    page.mouse.move(600, 600)
    page.mouse.wheel(0, 6000)
    page.wait_for_function("document.body.scrollTop > 1000")
    box = page.locator("thead th", has_text=NEW).bounding_box()
    assert box is not None and 0 <= box["y"] < 150


def test_the_matrix_leads_to_a_requirement(opened: Opened) -> None:
    page = opened("matrix.html#show=differs")
    page.locator(f"#{PLATFORM.replace('.', chr(92) + '.')} a").click()
    page.wait_for_url("**/r/*.html")
    assert page.locator("h1").inner_text() == PLATFORM


# A VMCB, field by field


def test_changed_fields_of_a_vmcb_are_marked(opened: Opened) -> None:
    page = opened("vmcb.html")
    page.locator("#boot").select_option("boot-old")
    wait_for(page, "exitcode", "#fields tr.changed")
    changed = page.locator("#fields tr.changed th").all_inner_texts()
    assert changed == ["exitcode", "rip"]
    row = page.locator("#fields tr.changed").first.inner_text()
    assert "0000_0000_0000_0081" in row and "VMMCALL" in row
    page.locator("#show").select_option("changed")
    assert page.locator("#fields td:first-child").all_inner_texts() == ["070h", "578h"]
    page.locator("#dump").select_option("1")
    page.locator("#show").select_option("set")
    assert not page.locator("#fields .after").first.is_visible()
    assert "dump=1" in page.url


def test_a_link_opens_a_boot_s_vmcb(opened: Opened) -> None:
    page = opened(f"r/{HYPERVISOR}.html")
    page.get_by_role("link", name="its VMCBs").first.click()
    wait_for(page, "exitcode", "#fields tr.changed")
    assert page.locator("#boot").input_value() in ("boot-old", "boot-new")


@pytest.mark.parametrize("form", ["raw", "hexadecimal"])
def test_a_person_s_own_dumps(opened: Opened, tmp_path: Path, form: str) -> None:
    files = []
    for name, data in (("before", BEFORE), ("after", AFTER)):
        (tmp_path / name).write_bytes(data if form == "raw" else data.hex(" ").encode())
        files.append(tmp_path / name)
    page = opened("vmcb.html")
    page.locator("#own").set_input_files(files)
    wait_for(page, "exitcode", "#fields tr.changed")
    page.locator("#own").set_input_files([])
    (tmp_path / "no").write_text("not a VMCB")
    page.locator("#own").set_input_files([tmp_path / "no"])
    wait_for(page, "That is no VMCB", "#about")


def test_bytes_without_a_name_are_not_hidden(opened: Opened, tmp_path: Path) -> None:
    odd = bytearray(BEFORE)
    odd[0x0D8:0x0DC] = b"\x0f\x00\x00\x01"
    (tmp_path / "odd").write_bytes(odd)
    page = opened("vmcb.html")
    page.locator("#own").set_input_files([tmp_path / "odd"])
    wait_for(page, "unnamed", "#fields tr")
    assert "0000_0000_0100_000f" in page.locator("#fields tr", has_text="0D8h").inner_text()


# On every page


def test_markdown_can_be_copied(opened: Opened) -> None:
    page = opened(f"e/{OLD}.html", permissions=["clipboard-read", "clipboard-write"])
    page.locator(".markdown summary").first.click()
    page.locator("[data-copy=markdown1]").click()
    wait_for(page, "Copied", "[data-copy=markdown1]")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#markdown1").text_content()


def test_colours_can_be_chosen_and_stay(opened: Opened) -> None:
    page = opened("index.html", color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.locator("#colours").click()
    page.locator("#colours").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.get_by_role("link", name="Manual", exact=True).click()
    page.wait_for_url("**/manual.html")
    assert page.evaluate(paper) == dark


def test_what_is_folded_is_printed(opened: Opened) -> None:
    page = opened(f"e/{OLD}.html")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not([open])").count() > 0


@pytest.mark.parametrize("place", [f"e/{OLD}.html", "matrix.html"])
def test_paper_is_white_whatever_the_colours_are(opened: Opened, place: str) -> None:
    page = opened(place, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("header.top").is_visible()


def test_keys_reach_what_the_mouse_does(opened: Opened) -> None:
    page = opened("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_without_scripts_all_can_be_read(opened: Opened) -> None:
    page = opened("manual.html", java_script_enabled=False)
    page.locator("summary", has_text="15.4 Enabling SVM").click()
    assert page.locator('a[href="r/SVM-15.4-001.html"]').is_visible()
    page = opened(f"r/{PLATFORM}.html", java_script_enabled=False)
    assert page.locator("#evidence").is_visible()
    page = opened("vmcb.html", java_script_enabled=False)
    assert "needs scripts" in page.locator("main").inner_text()


def test_every_page_opens_without_an_error(opened: Opened, made: Path) -> None:
    page = opened("index.html")
    some = [f"r/{id}.html" for id in list(catalogue.load())[::40]]
    for place in (*PAGES, *some, "e/bochs-3.0.html"):
        page.goto(f"{made.as_uri()}/{place}")
        assert page.title().endswith("svmconf") or place == "matrix.html"


def test_the_page_is_there_at_once(browser: Browser, tmp_path: Path) -> None:
    """610 requirements, fourteen engines: the first paint takes less than 2 s."""
    made = ledgers.whole_catalogue()
    site.write(made, tmp_path / "site")
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{(tmp_path / 'site').as_uri()}/matrix.html")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    first = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    assert first < 2000
