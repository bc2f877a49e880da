"""Build the docs site: `pip install -e '.[docs]'`, then `python docs/build_site.py`.

It copies the pages to build/docs and lets Zensical make `site/` of them, every warning an error.
The pages read well on GitHub as they are. In the site, some comments in them become more:

    <!-- api: pdpipe.load -->     the docstring of a public name
    <!-- commands -->             the help of every command
    <!-- params -->               params.yaml, with a heading for each section

A link to a file outside docs/ leads to a page of the site that shows the file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD, SITE = ROOT / "build/docs", ROOT / "site"
PAGES = BUILD / "pages"
LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(((?!https?:|mailto:|#)[^)\s]+)\)")
# The offline plugin's aid for search in pages opened without a server: it comes from elsewhere.
SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"[^>]*></script>')
OUTSIDE = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=\"?(?:https?:)?//[^\">]*"
    r"|<link\b(?![^>]*canonical)[^>]*href=\"?(?:https?:)?//[^\">]*"
)
OUTER = ("CONTRIBUTING.md", "CHANGELOG.md")  # pages from outside docs/
UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
LANGUAGES = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".toml": "toml", ".txt": "text"}


def build() -> None:
    """Make `site/` anew.

    Raises:
        SystemExit: Zensical, or the reader of docstrings, has a complaint.
    """
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "*.toml"))
    shutil.copy(ROOT / "docs/zensical.toml", BUILD)
    (BUILD / "pdpipe").symlink_to(ROOT / "pdpipe")
    for name in OUTER:
        shutil.copy(ROOT / name, PAGES)
    # Zensical would call a README.md index.html, which is the report's name there.
    (PAGES / "results/README.md").rename(PAGES / "results/about.md")
    for page in sorted(PAGES.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if page == PAGES / "results/table.md":
            text = UNSEARCHED + text
        page.write_text(with_links(expanded(text), page), encoding="utf-8")

    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    quiet = {"NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=BUILD, env=os.environ | quiet, capture_output=True, text=True
    )
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    if done.returncode or re.search("warning|error|mkdocstrings", said, re.IGNORECASE):
        sys.exit(f"{said}\nthe docs site is not built: see above")
    for page in (BUILD / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if SHIM.search(text):
            text = SHIM.sub("", text)
            page.write_text(text, encoding="utf-8")
        if found := OUTSIDE.search(text):
            sys.exit(f"{page} would ask for something outside: {found.group()}")
    shutil.rmtree(SITE, ignore_errors=True)
    (BUILD / "site").rename(SITE)
    print(f"built {(SITE / 'index.html').relative_to(ROOT)}: {len([*SITE.rglob('*.html')])} pages")


def expanded(text: str) -> str:
    """A page with what its comments ask for."""
    text = re.sub(r"<!-- api: (\S+) -->", r"::: \1", text)
    text = text.replace("<!-- commands -->", "".join(command_help()))
    return text.replace("<!-- params -->", "".join(settings()))


def with_links(text: str, page: Path) -> str:
    """A page whose links lead to pages of the site."""
    place = page.relative_to(PAGES)
    # Where the page lies in the repository: its links are relative to that.
    home = ROOT if place.name in OUTER else (ROOT / "docs" / place).parent

    def changed(match: re.Match[str]) -> str:
        label, target = match.groups()
        path, _, anchor = target.partition("#")
        file = (home / path).resolve()
        if not path or not file.exists():  # Zensical says so
            return match.group()
        if file.is_dir():
            index = file / "README.md"
            if not index.exists():
                return label[1:-1]
            file = index
        goal = os.path.relpath(page_of(file), page.parent)
        return f"{label}({goal}{'#' if anchor else ''}{anchor})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [LINK.sub(changed, part) for part in parts[::2]]
    return "".join(parts)


def page_of(file: Path) -> Path:
    """The page, or other file of the site, that shows a file of the repository."""
    path = file.relative_to(ROOT)
    if path == Path("docs/results/README.md"):
        return PAGES / "results/about.md"
    if path == Path("README.md"):
        return PAGES / "index.md"
    if path.parts[0] == "docs" and file.suffix not in LANGUAGES:
        return PAGES / path.relative_to("docs")
    if path.as_posix() in OUTER:
        return PAGES / path
    page = PAGES / "files" / f"{path}.md"
    if not page.exists():
        page.parent.mkdir(parents=True, exist_ok=True)
        language = "markdown" if file.suffix == ".md" else LANGUAGES.get(file.suffix, "text")
        source = file.read_text(encoding="utf-8")
        page.write_text(
            f"{UNSEARCHED}# {file.name}\n\n`{path}`\n\n````{language}\n{source}````\n",
            encoding="utf-8",
        )
    return page


def command_help() -> Iterator[str]:
    """The help of every command, as Markdown."""
    from typer.main import get_command

    from pdpipe.cli import GROUPS, app

    whole = get_command(app)
    context = whole.make_context("pdpipe", [], resilient_parsing=True)
    for group in GROUPS:
        yield f"\n## {group.replace('`', '')}\n"
        for name, command in whole.of(group).items():  # type: ignore[attr-defined]
            inner = command.make_context(
                name, [], parent=context, resilient_parsing=True, max_content_width=80
            )
            yield f"### {name}\n\n```text\n{command.get_help(inner)}\n```\n"


def settings() -> Iterator[str]:
    """params.yaml, with a heading for each section."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for section in re.split(r"\n(?=\w+:)", text.partition("\n\n")[2]):
        yield f"\n## {section.partition(':')[0]}\n\n```yaml\n{section.strip()}\n```\n"


if __name__ == "__main__":
    build()
