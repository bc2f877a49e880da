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
    for _, attributes in page.elements:
        for name in REQUESTING & attributes.keys():
            assert re.match(r"#|data:", attributes[name] or "")
    assert not page.all("iframe")
    assert not any("src" in attributes for attributes in page.all("script"))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "@import" not in style
    for address in re.findall(r"url\(([^)]*)\)", html):
        assert address.startswith("#")
    assert "//" not in re.sub(r"data:[^\"]*|sha256-[^']*", "", html)


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
    assert len(drawings) == 3 + 3
    alts = [image["alt"] for image in images]
    assert all(alts)
    assert len(set(alts)) == len(alts)
    assert "Steps and guidance, student, 4 steps, w = 0.3: 10 samples from the same noise" in alts
    assert all(drawing["role"] == "img" for drawing in drawings)
    labels = [drawing["aria-label"] for drawing in drawings]
    assert [("FID-1500[digits-cnn]" in label) for label in labels] == [True, False, True] + [
        False
    ] * 3
    assert "IS-1500[digits-cnn] against sampling steps" in labels[1]
    for label, word in zip(labels[3:], ("rotation", "Two rounds", "loss weights"), strict=True):
        assert word in label


def test_headline_protocol_and_caveat_are_on_it(full_chain, page, tmp_path):
    text = " ".join(" ".join(page.text).split())
    assert "1 step: FID-1500[digits-cnn]" in text
    assert "FID-1500[digits-cnn] is not the FID of publications" in text
    assert "FID-270[digits-cnn]" in text
    for word in ("ab" * 32, "equal counts per class", "uint8, rounded", "ddim", "Test CPU", "ema"):
        assert word in text


def test_fids_in_table_headers_are_named(page):
    assert any("FID" in header for header in page.headers)
    for header in page.headers:
        assert not re.search(r"\b(FID|IS)(?!-\d+\[digits-cnn\])", header), header


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
