"""The page: complete in itself, readable without seeing, and nothing slips through unescaped."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

REQUESTING = {"src", "href", "xlink:href", "data", "srcset", "poster", "action", "background"}
VOID = {"meta", "link", "img", "br", "hr", "input", "use", "path"}


class Page(HTMLParser):
    """What a test asks of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.headers: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "th":
            self.headers.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "th" in self.open:
            self.headers[-1] += data
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(full_report) -> str:
    return (full_report / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_nothing_is_asked_of_a_network(html, page):
    for tag, attributes in page.elements:
        for name in REQUESTING & attributes.keys():
            papers = "https://arxiv.org/|" * (tag == "a")  # opened by the reader alone
            assert re.match(rf"{papers}#|data:", attributes[name] or "")
    assert not page.all("iframe")
    assert not any("src" in attributes for attributes in page.all("script"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "@import" not in style
    for address in re.findall(r"url\(([^)]*)\)", html):
        assert address.startswith("#")
    known = [
        r"data:[^\"]*",
        r"sha256-[^']*",
        r'href="https://arxiv\.org/',
        r'"http://www\.w3\.org/',
    ]
    assert "//" not in re.sub("|".join(known), "", html)


def test_no_script_runs_but_the_pages_own(html):
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"


def test_it_is_well_formed_with_unique_ids_and_links_that_lead_somewhere(page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a.get("href") or a.get("xlink:href") for _, a in page.elements]
    links = [link for link in links if link and link.startswith("#")]
    assert len(links) > 6
    assert {link[1:] for link in links} <= set(ids)


def test_every_picture_is_described(page):
    images, drawings = page.all("img"), page.all("svg")
    assert len(images) == (1 + 2 * 4) * 3 + (1 + 4) * 10
    assert len(drawings) == 3 + 4 + 3  # one a w, the curves, those of the method
    alts = [image["alt"] for image in images]
    assert all(alts)
    assert len(set(alts)) == len(alts)
    assert "Steps and guidance, student, 4 steps, w = 0.3: 10 samples from the same noise" in alts
    assert all(drawing["role"] == "img" for drawing in drawings)
    labels = [drawing["aria-label"] for drawing in drawings]
    starts = [f"FID against sampling steps at w = {w}," for w in ("0", "0.3", "2")]
    starts += ["FID against sampling steps, ", "FID (logarithmic) against the guidance weight"]
    starts += ["IS against sampling steps", "IS against FID"]
    for label, start in zip(labels, starts, strict=False):
        assert label.startswith(start)
    for label, word in zip(labels[7:], ("rotation", "Two rounds", "loss weights"), strict=True):
        assert word in label


def test_headline_protocol_and_caveat_are_on_it(full_chain, page, tmp_path):
    text = " ".join(" ".join(page.text).split())
    assert "1 step instead of 16: FID 1.14, where the guided teacher has 1.60 in 16 steps" in text
    assert "classifier of this very data set (99.6 % held-out accuracy)" in text
    for word in ("ab" * 32, "equal counts per class", "uint8, rounded", "ddim", "Test CPU", "ema"):
        assert word in text


def test_the_figures_are_defined_once(page):
    text = " ".join(" ".join(page.text).split())
    assert text.count("FID is FID-1500[digits-cnn] here: ") == 1
    assert text.count("FID-270[digits-cnn] 1.43 ± ") == 1
    assert not any("[digits-cnn]" in header for header in page.headers)


def test_what_comes_first_is_the_sentence_then_the_curve_and_the_explorer(html):
    order = ["<h1>", 'class="curve"', 'class="explorer"', " here: the", "<nav", 'id="quality"']
    places = [html.index(part) for part in order]
    assert places == sorted(places)
    assert re.findall(r'class="curve" data-w="(w = [\d.]+)"( hidden)?>', html) == [
        *(("w = 0", " hidden"), ("w = 0.3", ""), ("w = 2", " hidden")),
    ]


def test_colours_follow_the_page(html):
    drawing = re.search(r"<svg.*?</svg>", html, re.DOTALL)[0]
    assert "var(--student)" in drawing
    assert "var(--teacher)" in drawing
    assert "currentColor" in drawing
    assert "#ffffff" not in drawing
    assert "prefers-color-scheme: dark" in html


def test_names_are_escaped(make_chain, tmp_path):
    chain = make_chain(w=(0.3,), classes=("<b>one", 'tw"o & more', "$\\no$"))
    chain.report(tmp_path)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>" not in html
    page = Page(html)
    assert page.open == []
    assert {"<b>one", 'tw"o & more', "$\\no$"} <= set(page.headers)
