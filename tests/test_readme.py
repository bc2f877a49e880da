"""README and docs say what the repository holds: commands, files, settings that are taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

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
