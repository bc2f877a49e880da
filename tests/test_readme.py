"""README and docs say what the repository holds: commands, files, settings that are taken."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

import pdpipe
from pdpipe import pipeline
from pdpipe.cli import GROUPS, app
from pdpipe.params import read_params

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def marked(name: str) -> str:
    """The text between a marker and the next blank line that follows some text."""
    after = README.split(f"<!-- {name} -->\n", 1)[1]
    return after.strip().split("\n\n", 1)[0]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page can end in."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return set(plain)


def test_the_two_commands_do_all_their_set_up() -> None:
    set_up = "python3 -m venv .venv && . .venv/bin/activate && "
    assert f"{set_up}pip install -e . && dvc repro\n" in marked("ci: main")
    assert f"{set_up}pip install -e '.[test]' && pytest\n" in marked("ci: tests")


def test_it_is_read_in_minutes() -> None:
    assert len(README.split()) <= 1200


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_of_the_docs_is_in_their_index() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert named == {page.name for page in ROOT.glob("docs/*.md")} - {"index.md"}


def test_every_page_of_the_docs_is_in_the_sites_navigation() -> None:
    site = tomllib.loads((ROOT / "docs/zensical.toml").read_text(encoding="utf-8"))
    named = re.findall(r"'([\w-]+\.md)'", str(site["project"]["nav"]))
    assert len(named) == len(set(named))
    assert set(named) >= {page.name for page in ROOT.glob("docs/*.md")}


def test_every_command_is_on_its_page() -> None:
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    commands = get_command(app)
    assert [name for group in GROUPS for name in commands.of(group) if f"{name}`" not in text] == []


def test_the_settings_page_names_the_stages_that_read_each_section() -> None:
    params = read_params(ROOT / "params.yaml")
    reading: dict[str, set[str]] = {section: set() for section in type(params).model_fields}
    for stage in pipeline.chain(params).values():
        for key in stage.params:
            reading[key.partition(".")[0]].add(stage.command.partition(" ")[0])
    text = (ROOT / "docs/params.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", text, re.MULTILINE)
    assert {section: set(re.findall(r"`([\w-]+)`", stages)) for section, stages in rows} == reading


def test_the_version_that_is_cited_is_this_one() -> None:
    version = re.escape(pdpipe.__version__)
    for name, line in (
        ("CITATION.cff", f"version: {version}"),
        ("docs/citation.md", f"{{{version}}}"),
    ):
        assert re.search(line, (ROOT / name).read_text(encoding="utf-8")), name


def test_the_settings_for_own_images_are_taken(tmp_path: Path) -> None:
    text = (ROOT / "docs/own-images.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    yaml = YAML(typ="safe")
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in yaml.load(re.sub(r"^   ", "", block, flags=re.MULTILINE)).items():
        assert changes.keys() <= params[section].keys()
        params[section].update(changes)
    path = tmp_path / "params.yaml"
    yaml.dump(params, path)
    assert read_params(path).data.channels == 3


def test_the_method_page_shows_the_code_as_it_is() -> None:
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- from: (\S+) -->\n```python\n(.*?)```", page, re.DOTALL)
    assert len(shown) == page.count("```python")
    for path, code in shown:
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        remaining = iter(lines)
        for line in code.splitlines():
            assert line in remaining, f"{path} has no such line in this order: {line}"
