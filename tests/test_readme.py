"""The README says what the repository holds: its commands, its files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def marked(name: str) -> str:
    """The text between a marker and the next blank line that follows some text."""
    after = README.split(f"<!-- {name} -->\n", 1)[1]
    return after.strip().split("\n\n", 1)[0]


def test_the_two_commands_do_all_their_set_up() -> None:
    set_up = "python3 -m venv .venv && . .venv/bin/activate && "
    assert f"{set_up}pip install -e . && dvc repro\n" in marked("ci: main")
    assert f"{set_up}pip install -e '.[test]' && pytest\n" in marked("ci: tests")


def test_files_that_it_names_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
