"""`pdpipe preset`: whole params files, also of the studies, and no edits lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe.presets import preset_files, preset_names

if TYPE_CHECKING:
    from conftest import Typed

ROOT = Path(__file__).parents[2]
STUDIES = sorted(path.stem for path in (ROOT / "pdpipe/presets/digits").glob("*.yaml"))
UNGUIDED = [study for study in STUDIES if study not in ("encoder", "naive", "single-w")]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_written_and_valid(typed: Typed, name: str) -> None:
    (typed.root / "params.yaml").unlink()
    printed = typed.run("preset", name)
    studies = UNGUIDED if name.startswith("lsun") else STUDIES
    assert printed.out == (
        f"wrote params.yaml: the {name} preset\n"
        f"wrote stages/<study>/params.yaml: {', '.join(studies)}\n"
    )
    for path, text in preset_files(name).items():
        assert (typed.root / path).read_bytes() == text.encode()
    there = sorted(path.parent.name for path in typed.root.glob("stages/*/params.yaml"))
    assert there == studies
    assert ("no labels" in printed.err) == (studies != STUDIES)
    later = name.startswith("lsun")
    assert ("arrives in a later release" in printed.err) == later
    for command in ("check", "prepare"):
        if later:
            assert "arrives in a later release" in typed.refused(command)
        elif name == "digits":
            assert typed.run(command).code == 0
        else:
            assert "download" in typed.refused(command)


def test_the_studies_that_are_left_out_are_named(typed: Typed) -> None:
    assert typed.run("preset", "digits", "--force").code == 0
    printed = typed.run("preset", "lsun-church128")
    assert "leaves out the studies encoder, naive, single-w; their params" in printed.err
    left = (typed.root / "stages/encoder/params.yaml").read_bytes()
    assert left == (ROOT / "stages/encoder/params.yaml").read_bytes()


def test_the_studies_go_beside_the_params_file(typed: Typed) -> None:
    printed = typed.run("preset", "cifar10", "--out", "far/away/other.yaml")
    assert "wrote far/away/stages/<study>/params.yaml: baselines, " in printed.out
    assert (typed.root / "far/away/other.yaml").is_file()
    assert (typed.root / "far/away/stages/naive/params.yaml").is_file()
    assert not (typed.root / "stages").exists()


def test_a_preset_does_not_overwrite_edits(typed: Typed) -> None:
    assert "params.yaml has edits that this would lose" in typed.refused("preset", "digits")
    assert typed.run("preset", "digits", "--force").code == 0
    assert typed.run("preset", "cifar10").code == 0  # no edits to lose
    assert typed.run("preset", "digits", "--out", "other.yaml").code == 0
    assert (typed.root / "other.yaml").is_file()


def test_nor_those_of_a_study(typed: Typed) -> None:
    """One edited file keeps all of them, also those that are written before it."""
    assert typed.run("preset", "digits", "--force").code == 0
    edited = typed.root / "stages/naive/params.yaml"
    text = edited.read_text(encoding="utf-8")
    edited.write_text(text + "# mine\n", encoding="utf-8")
    complaint = typed.refused("preset", "cifar10")
    assert complaint == (
        "stages/naive/params.yaml has edits that this would lose: add --force, or give --out in "
        "another folder"
    )
    (typed.root / "stages/encoder/params.yaml").write_bytes(b"\xff")  # not even text
    complaint = typed.refused("preset", "cifar10")
    assert complaint.startswith("stages/encoder/params.yaml and stages/naive/params.yaml have ")
    assert typed.run("preset", "lsun-church128", "--force").code == 0
    assert edited.read_text(encoding="utf-8").endswith("# mine\n")  # of no concern to it
    assert typed.run("preset", "digits", "--force").code == 0
    assert edited.read_text(encoding="utf-8") == text


def test_another_style_is_no_edit(typed: Typed) -> None:
    """As older versions wrote a preset: a line for each entry. A value or a comment is one."""
    assert typed.run("preset", "digits", "--force").code == 0
    path = typed.root / "stages/naive/params.yaml"
    text = path.read_text(encoding="utf-8")
    old = re.sub(
        r"(?m)^  (naive-\d+):\n((?:    \w+: \S+\n)+)",
        lambda entry: f"  {entry[1]}: {{{', '.join(entry[2].split(chr(10))[:-1])}}}\n",
        text,
    )
    assert len(old.splitlines()) < len(text.splitlines()) - 10
    path.write_text(old, encoding="utf-8")
    assert typed.run("preset", "digits").code == 0
    assert path.read_text(encoding="utf-8") == text
    for edited in (old + "# mine\n", old.replace("updates: 400", "updates: 401")):
        assert edited != old
        path.write_text(edited, encoding="utf-8")
        assert "stages/naive/params.yaml has edits" in typed.refused("preset", "digits")


def test_a_study_of_another_name_is_of_no_concern(typed: Typed) -> None:
    mine = typed.root / "stages/mine/params.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("title: mine\n", encoding="utf-8")
    assert typed.run("preset", "digits", "--force").code == 0
    assert mine.read_text(encoding="utf-8") == "title: mine\n"


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_where_a_file_belongs(typed: Typed, force: list[str]) -> None:
    (typed.root / "stages/naive/params.yaml").mkdir(parents=True)
    complaint = typed.refused("preset", "digits", "--out", "new.yaml", *force)
    assert complaint.startswith("stages/naive/params.yaml is a folder")


def test_an_unknown_preset(typed: Typed) -> None:
    assert "there is no preset 'digit': did you mean 'digits'?" in typed.refused("preset", "digit")
