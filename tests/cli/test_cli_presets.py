"""`pdpipe preset`: whole params files, and no edits lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Typed

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "pdpipe/presets"


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_a_preset_is_written_and_valid(typed: Typed, name: str) -> None:
    (typed.root / "params.yaml").unlink()
    printed = typed.run("preset", name)
    assert printed.out == f"wrote params.yaml: the {name} preset\n"
    assert (typed.root / "params.yaml").read_bytes() == (PRESETS / f"{name}.yaml").read_bytes()
    assert typed.run("check").code == 0
    prepared = typed.run("prepare")
    if name == "digits":
        assert printed.err == ""
        assert prepared.code == 0
    else:
        assert "arrives in a later release" in printed.err
        assert prepared.code == 2
        assert "arrives in a later release" in prepared.err


def test_the_project_starts_with_the_digits_preset() -> None:
    assert (ROOT / "params.yaml").read_bytes() == (PRESETS / "digits.yaml").read_bytes()


def test_a_preset_does_not_overwrite_edits(typed: Typed) -> None:
    assert "params.yaml has edits that this would lose" in typed.refused("preset", "digits")
    assert typed.run("preset", "digits", "--force").code == 0
    assert typed.run("preset", "cifar10").code == 0  # no edits to lose
    assert typed.run("preset", "digits", "--out", "other.yaml").code == 0
    assert (typed.root / "other.yaml").is_file()


def test_an_unknown_preset(typed: Typed) -> None:
    assert "there is no preset 'digit': did you mean 'digits'?" in typed.refused("preset", "digit")
