"""The page in a real browser: it asks for nothing, its tools work, and everyone can read it."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Read here, before a fixture takes this project's variables out of the environment.
REQUIRED = os.environ.get("PDPIPE_REQUIRE_BROWSER") == "1"

pytestmark = pytest.mark.browser
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    if CHROMIUM is None:
        if REQUIRED:
            pytest.fail("PDPIPE_REQUIRE_BROWSER is 1, but there is no chromium on the PATH")
        pytest.skip("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open a report's page from disk; at the end there must have been no error and no request."""
    contexts, complaints = [], []

    def request(address: str) -> None:
        if not address.startswith(("file:", "data:")):
            complaints.append(f"asked for {address}")

    def open_it(
        report: Path,
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        script: bool = True,
        address: str = "",
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            offline=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: request(asked.url))
        page.goto((report / "index.html").as_uri() + address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def colour_chain(make_chain: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Few large colour images of classes with long names, one w and one rung; and its report."""
    names = ("a_class_whose_name_has_no_space_to_break_a_line_at_and_goes_on", "b & <i>c</i>")
    chain = make_chain(start=2, ladder=(1,), w=(0.5,), classes=names, channels=3, image_size=16)
    folder = tmp_path_factory.mktemp("colour")
    chain.report(folder)
    return chain, folder


def pixels(page: Page, panel: str) -> np.ndarray:
    """What a canvas shows, (height, width, 4)."""
    width, values = page.evaluate(
        """panel => {
            const canvas = document.querySelector(`canvas[data-panel="${panel}"]`);
            const copy = new OffscreenCanvas(canvas.width, canvas.height);
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            return [copy.width, [...context.getImageData(0, 0, copy.width, copy.height).data]];
        }""",
        panel,
    )
    return np.array(values, dtype=np.uint8).reshape(-1, width, 4)


def drawn(images: np.ndarray, across: int) -> np.ndarray:
    """Images (n, C, H, W) as a canvas should show them, in rows of `across`."""
    n, _, height, width = images.shape
    gap = max(1, round(width / 16))
    down = -(-n // across)
    shape = (down * (height + gap) - gap, across * (width + gap) - gap, 4)
    canvas = np.zeros(shape, dtype=np.uint8)
    for k, image in enumerate(images):
        top, left = k // across * (height + gap), k % across * (width + gap)
        place = canvas[top : top + height, left : left + width]
        place[..., :3] = np.broadcast_to(image, (3, height, width)).transpose(1, 2, 0)
        place[..., 3] = 255
    return canvas


ROWS = 4  # of images in a panel, at most


def shows(page: Page, panel: str, images: np.ndarray) -> None:
    """Wait until a canvas shows the first of the images, pixel for pixel, each large enough."""
    canvas = page.locator(f'canvas[data-panel="{panel}"]')
    for _ in range(50):
        across = int(canvas.get_attribute("data-across") or 1)
        expected = drawn(images[: ROWS * across], across)
        found = pixels(page, panel)
        if np.array_equal(found, expected):
            assert canvas.bounding_box()["width"] >= 48 * min(across, len(images))
            return
        page.wait_for_timeout(20)
    pytest.fail(f"the {panel} panel shows other images: {found.shape}, not {expected.shape}")


def by_column(sheet: np.ndarray) -> np.ndarray:
    """The images of a sheet at one w as all classes stand: a class a column."""
    return sheet.transpose(1, 0, 2, 3, 4).reshape(-1, *sheet.shape[2:])


def figures(page: Page, panel: str) -> list[str]:
    return page.locator(f'[data-figure="{panel}"]').all_inner_texts()


def test_nothing_is_asked_and_nothing_goes_wrong(full_report, open_page):
    page = open_page(full_report)
    for details in page.locator("summary").all()[:2]:
        details.click()
    page.mouse.wheel(0, 20_000)
    page.wait_for_function("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desk", "phone"])
def test_the_first_screen_has_the_sentence_and_the_curve(full_report, open_page, size):
    page = open_page(full_report, width=size[0], height=size[1])
    shows_images = page.locator('canvas[data-panel="student"]')
    shows_images.wait_for()
    curve = page.locator(".curve:not([hidden]) svg").bounding_box()
    assert page.locator("h1").bounding_box()["y"] < curve["y"]
    assert curve["y"] + curve["height"] < size[1]
    if size[0] > 1000:
        assert shows_images.bounding_box()["y"] < size[1] - 100


def choice(page: Page) -> tuple[str, str, str, bool]:
    """Steps, w, class and whether the difference is shown."""
    return (
        page.locator("#explorer-steps-value").inner_text(),
        page.locator("#explorer-w-value").inner_text(),
        page.locator("#explorer-class option:checked").inner_text(),
        page.locator("#explorer-difference").is_checked(),
    )


def test_the_address_keeps_the_choice(full_report, open_page):
    page = open_page(full_report)
    page.get_by_role("slider", name="Steps N").fill("2")
    page.get_by_role("slider", name="Guidance w").fill("2")
    page.get_by_label("Class", exact=True).select_option(label="7")
    page.get_by_label("difference").check()
    kept = ("4 steps", "w = 2", "7", True)
    assert choice(page) == kept
    address = page.evaluate("location.hash")
    assert choice(open_page(full_report, address=address)) == kept
    page.get_by_role("link", name="Cost").click()  # it leads elsewhere, and changes no choice
    assert choice(page) == kept


def test_an_address_that_fits_in_part_gives_that_part_and_is_corrected(full_report, open_page):
    page = open_page(full_report, address="#N=4&w=77&class=none")
    assert choice(page) == ("4 steps", "w = 0.3", "all", False)
    assert page.evaluate("location.hash") == "#N=4&w=0.3"


def test_one_image_enlarged_with_its_difference_and_a_real_one(full_chain, full_report, open_page):
    page = open_page(full_report)
    at = full_chain.w.index(0.3)
    shows(page, "student", by_column(full_chain.sheet("student", 1)[at]))
    page.locator('canvas[data-panel="student"]').click(position={"x": 5, "y": 5})
    dialog = page.get_by_role("dialog")
    titles = ["Student, 1 step", "Student minus teacher at full steps", "Teacher, 1 step"]
    titles += ["Teacher, 16 steps", "Real, held out"]
    dialog.get_by_text("class 0, sample 1").wait_for()
    assert dialog.locator("figcaption").all_inner_texts() == titles
    page.keyboard.press("ArrowRight")
    dialog.get_by_text("class 1, sample 1").wait_for()
    dialog.get_by_role("button", name="previous").click()
    dialog.get_by_text("class 0, sample 1").wait_for()
    own, full = (
        full_chain.sheet(kind, n)[at, 0, 0, 0].astype(int)
        for kind, n in (("student", 1), ("teacher", 16))
    )
    found = page.evaluate(
        """() => {
            const canvas = document.querySelectorAll("dialog canvas")[1];
            return [...canvas.getContext("2d").getImageData(0, 0, 8, 8).data];
        }"""
    )
    expected = np.floor(127.5 + (own - full) / 2 + 0.5)
    assert (np.reshape(found, (8, 8, 4))[..., 0] == expected).all()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_tables_and_figures_can_be_saved(full_chain, full_report, open_page):
    page = open_page(full_report)
    saved = {}
    for kind in ("SVG", "PNG", "CSV"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=re.compile(f"^Save .* as {kind}$")).first.click()
        saved[waiting.value.suggested_filename] = waiting.value.path().read_bytes()
    (svg, drawing), (png, bitmap), (csv, rows) = saved.items()
    assert (svg, png) == ("fid_by_steps_w0.3.svg", "fid_by_steps_w0.3.png")
    assert drawing.startswith(b"<svg")
    assert b"var(--" not in drawing
    assert Image.open(io.BytesIO(bitmap)).size[0] > 1500
    assert csv == "the-fewest-steps-that-reach-the-teacher.csv"
    assert len(rows.decode().splitlines()) == 1 + len(full_chain.w)


def test_on_paper_everything_is_open_and_nothing_is_cut(full_report, open_page):
    page = open_page(full_report, width=1030)  # A4 across, less its margins
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    cut = page.evaluate(
        """() => [...document.querySelectorAll("table, figure svg")].filter(
            element => element.getBoundingClientRect().right > 1030.5
        ).map(element => element.outerHTML.slice(0, 80))"""
    )
    assert cut == []
    assert not page.locator(".controls").is_visible()


def test_without_script_there_are_tables_and_a_grid(full_report, open_page):
    page = open_page(full_report, script=False)
    assert not page.locator(".explorer").is_visible()
    assert page.locator("th button").count() == 0
    assert page.get_by_role("table", name="Steps and guidance").is_visible()
    assert page.get_by_role("table", name="The fewest steps that reach the teacher").is_visible()
    page.get_by_text("Student and teacher at w = 2").click()
    assert page.get_by_role("table", name="w = 2").is_visible()


def test_arrow_keys_move_the_sliders_through_every_cell(full_chain, full_report, open_page):
    page = open_page(full_report)
    steps, w = (
        page.get_by_role("slider", name="Steps N"),
        page.get_by_role("slider", name="Guidance w"),
    )
    w.press("Home")
    for column, weight in enumerate(full_chain.w):
        steps.press("Home")
        for n in (1, 2, 4, 8):
            for panel, kind, count in (
                ("student", "student", n),
                ("teacher", "teacher", n),
                ("full", "teacher", 16),
            ):
                shows(page, panel, by_column(full_chain.sheet(kind, count)[column]))
                nfe, fid, _, inception_score, *_ = figures(page, panel)
                each = " × 2" if kind == "teacher" and weight > 0 else ""
                assert nfe == f"{count}{each}"
                for metric, text in (("fid", fid), ("is", inception_score)):
                    value = full_chain.value(metric, kind, count, weight)
                    assert text.startswith(f"{value:.2f} ± 0.")
            said = page.get_by_role("status").inner_text()
            assert said.startswith(f"Student, {n} step{'s' * (n > 1)}: NFE {n}, FID ")
            assert steps.get_attribute("aria-valuetext") == f"{n} step{'s' * (n > 1)}"
            steps.press("ArrowRight")
        assert w.get_attribute("aria-valuetext") == f"w = {weight:g}"
        w.press("ArrowRight")


def test_pictures_change_while_a_slider_is_dragged(full_chain, full_report, open_page):
    page = open_page(full_report)
    at = full_chain.w.index(0.3)
    shows(page, "student", by_column(full_chain.sheet("student", 1)[at]))
    before = page.locator(".panels").screenshot()
    slider = page.get_by_role("slider", name="Steps N")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    for k, n in enumerate((1, 2, 4, 8)):
        page.mouse.move(box["x"] + 8 + (box["width"] - 16) * k / 3, middle, steps=4)
        shows(page, "student", by_column(full_chain.sheet("student", n)[at]))
    page.mouse.up()
    assert page.locator(".panels").screenshot() != before


def test_the_class_picker_shows_one_class(full_chain, full_report, open_page):
    page = open_page(full_report)
    at = full_chain.w.index(0.3)
    picker = page.get_by_label("Class", exact=True)
    for label in ("7", "0"):
        picker.select_option(label=label)
        for panel, kind, n in (("student", "student", 1), ("full", "teacher", 16)):
            shows(page, panel, full_chain.sheet(kind, n)[at, int(label)])
        name = page.locator('canvas[data-panel="student"]').get_attribute("aria-label")
        assert name == f"Student, 1 step, w = 0.3: samples of class {label}"
    picker.focus()
    page.keyboard.press("ArrowUp")  # from the first class to all of them
    shows(page, "student", by_column(full_chain.sheet("student", 1)[at]))


def test_colours_and_a_single_cell(colour_chain, open_page):
    chain, report = colour_chain
    page = open_page(report)
    assert page.get_by_role("slider", name="Steps N").is_disabled()
    sheet = chain.sheet("student", 1)[0]
    shows(page, "student", by_column(sheet))
    page.get_by_label("Class", exact=True).select_option(label=chain.classes[1])
    shows(page, "student", sheet[1])


@pytest.mark.parametrize(
    "options",
    [{"ladder": ()}, {"classes": ("all",), "conditional": False}],
    ids=["no students", "no classes"],
)
def test_other_chains_open_too(make_chain, tmp_path, open_page, options):
    make_chain(w=(0.0,), **options).report(tmp_path)
    page = open_page(tmp_path)
    assert page.get_by_label("Class", exact=True).count() == 0
    assert page.locator(".explorer").count() == (0 if "ladder" in options else 1)
    assert page.locator("th button").count() > 5


def column_of(table: Any, heading: str) -> list[str]:
    return table.evaluate(
        """(table, heading) => {
            const headings = [...table.tHead.rows].at(-1).cells;
            const at = [...headings].findIndex(cell => cell.innerText.trim() === heading);
            return [...table.tBodies[0].rows].map(row => row.cells[at].innerText);
        }""",
        heading,
    )


def test_tables_sort_by_number_in_both_directions(full_report, open_page):
    page = open_page(full_report)
    table = page.get_by_role("table", name="w = 0.3", exact=True)
    heading = table.get_by_role("columnheader", name="teacher, same steps").first
    button = heading.get_by_role("button")
    original = column_of(table, "teacher, same steps")
    fids = [float(cell.split(" ± ")[0]) for cell in original[:-1]]
    assert fids != sorted(map(str, fids), key=str)  # as words they would stand otherwise
    for press, direction, backwards in (
        (button.click, "ascending", False),
        (lambda: button.press("Enter"), "descending", True),
        (lambda: button.press("Space"), "ascending", False),
    ):
        press()
        assert heading.get_attribute("aria-sort") == direction
        *rows, reference = column_of(table, "teacher, same steps")
        assert [float(cell.split(" ± ")[0]) for cell in rows] == sorted(fids, reverse=backwards)
        assert reference == original[-1]
    assert table.locator("[aria-sort]").count() == 1
    assert sorted(column_of(table, "steps")) == sorted(["8", "4", "2", "1", "teacher, 16 × 2"])


def test_what_is_missing_comes_last(full_report, open_page):
    page = open_page(full_report)
    table = page.get_by_role("table", name="w = 0.3", exact=True)
    table.get_by_role("button", name="steps", exact=True).click()
    assert column_of(table, "steps") == ["1", "2", "4", "8", "teacher, 16 × 2"]
    assert column_of(table, "teacher, equal NFE")[0] == "–"  # one step of the teacher takes two
    for _ in range(2):
        table.get_by_role("button", name="teacher, equal NFE").click()
        assert column_of(table, "teacher, equal NFE")[-2:] == ["–", "–"]
        assert column_of(table, "steps")[-2:] == ["1", "teacher, 16 × 2"]


@pytest.mark.parametrize(
    "ordered",
    [
        ["0.074", "0.12 ± 0.9", "0.9 ± 0.01", "1,234 ± 5"],
        ["w = 0", "w = 0.3", "w = 0.25e1", "w = 16"],
        ["0.9 %", "1.2 %", "10.4 %", "100.0 %"],
        ["DDIM", "Heun, γ = 2", "Heun, γ = 10", "–"],
    ],
    ids=["decimals", "w", "percent", "words"],
)
def test_the_order_of_cells(full_report, open_page, ordered):
    page = open_page(full_report)
    table = page.get_by_role("table", name="Students: FID", exact=True)
    page.get_by_text("Every metric over steps and w").click()
    table.evaluate(
        """(table, texts) => texts.forEach((text, row) => {
            table.tBodies[0].rows[row].cells[1].textContent = text;
        })""",
        [ordered[k] for k in (2, 0, 3, 1)],
    )
    table.get_by_role("button", name="w = 0", exact=True).click()
    assert column_of(table, "w = 0")[:-1] == ordered


AUDIT = """() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => {
        const [r, g, b] = parts(colour).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if ((parts(colour)[3] ?? 1) === 1) return colour;
        }
    };
    const found = {};
    for (const element of document.body.querySelectorAll("*")) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || ["SCRIPT", "OPTION"].includes(element.tagName)) continue;
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const name = element.tagName.toLowerCase();
        found[name] = Math.min(found[name] ?? 99, contrast);
    }
    return found;
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_contrast(full_report, open_page, dark):
    contrasts = open_page(full_report, dark=dark).evaluate(AUDIT)
    assert {"h1", "p", "a", "td", "th", "button", "figcaption", "label"} <= contrasts.keys()
    assert {name: value for name, value in contrasts.items() if value < 4.5} == {}


def test_dark_is_dark(full_report, open_page):
    colours = {}
    for dark in (False, True):
        page = open_page(full_report, dark=dark)
        colours[dark] = page.evaluate(
            "[document.body, document.querySelector('h1'), document.querySelector('figure path'),"
            " document.querySelector('select')].map(e => getComputedStyle(e)).map(s =>"
            " [s.backgroundColor, s.color, s.stroke])"
        )
        paper = page.screenshot(clip={"x": 2, "y": 2, "width": 1, "height": 1})
        colours[dark].append(paper)
    assert all(light != dark for light, dark in zip(colours[False], colours[True], strict=True))


def test_a_phone_scrolls_down_only(full_report, colour_chain, open_page):
    for report in (full_report, colour_chain[1]):
        page = open_page(report, width=360)
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        outside = page.evaluate(
            """() => [...document.body.querySelectorAll("*")].filter(element => {
                const box = element.getBoundingClientRect();
                return box.right > 360.5 && !element.closest(".scroll");
            }).map(element => element.outerHTML.slice(0, 80))"""
        )
        assert outside == []
        for name in ("student", "teacher"):
            box = page.locator(f'canvas[data-panel="{name}"]').bounding_box()
            assert box["width"] > 120
        scroller = page.locator(".scroll", has=page.get_by_role("table", name="w = 0", exact=True))
        if scroller.count():
            assert scroller.first.evaluate("box => box.scrollWidth > box.clientWidth")


def test_the_keyboard_gets_everywhere_and_is_seen(full_report, open_page):
    page = open_page(full_report)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the results")
    assert skip.evaluate("link => link === document.activeElement")
    assert skip.bounding_box()["x"] >= 0
    seen = set()
    for _ in range(150):
        name, width, style = page.evaluate(
            """() => {
                const e = document.activeElement, s = getComputedStyle(e);
                const name = e.id || e.className || e.tagName.toLowerCase();
                return [name, parseFloat(s.outlineWidth), s.outlineStyle];
            }"""
        )
        if name == "body":
            break
        assert style != "none", name
        assert width >= 2, name
        seen.add(name)
        page.keyboard.press("Tab")
    assert {"skip", "sort", "scroll", "summary"} <= seen
    assert {"explorer-steps", "explorer-w", "explorer-class"} <= seen
    page.goto(page.url.partition("#")[0])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_headings_and_names_make_an_outline(full_report, open_page):
    page = open_page(full_report)
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    for role in ("img", "slider", "combobox", "button", "region", "table", "link"):
        named = page.get_by_role(role, name=re.compile(r"\S"))
        assert page.get_by_role(role).count() == named.count() > 0, role


def test_no_script_but_its_own_runs(full_report, browser):
    """Were a name not escaped, what it carries would still do nothing."""
    page = browser.new_page()
    page.goto((full_report / "index.html").as_uri())
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.strange = 1";
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.strange") is None
    page.close()
