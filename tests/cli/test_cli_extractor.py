"""The extractor that comes with the package, and the one that a chain trains for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pdpipe.data import ImageSet
from pdpipe.extractors import FOLDER, NAMES, shipped_extractor, trained_name
from pdpipe.methods.extractor import accuracy
from pdpipe.models import load_classifier
from pdpipe.params import parse_params

if TYPE_CHECKING:
    from conftest import Typed

DIGITS = FOLDER / "digits-cnn.safetensors"
MODEL = Path("models/extractor.safetensors")


def of_source(typed: Typed, source: str) -> bytes:
    """The extractor's file after the stage has run with this setting."""
    params = typed.params()
    params["extractor"]["source"] = source
    typed.write(params)
    assert typed.run("extractor").code == 0
    return (typed.root / MODEL).read_bytes()


def test_the_digits_are_measured_by_the_shipped_file_on_every_machine(typed: Typed) -> None:
    assert of_source(typed, "auto") == DIGITS.read_bytes()
    cost = json.loads((typed.root / "results/cost/extractor.json").read_text())
    assert (cost["updates"], cost["images_seen"], cost["network_evaluations"]) == (0, 0, 0)
    for command in (["reference"], ["evaluate-teacher"], ["evaluate", "--steps", "2"], ["report"]):
        assert typed.run(*command).code == 0
    page = (typed.root / "reports/index.html").read_text(encoding="utf-8")
    assert "FID-20[digits-cnn]" in page


def test_one_that_is_trained_is_called_otherwise(typed: Typed) -> None:
    assert of_source(typed, "train") != DIGITS.read_bytes()
    _, info = load_classifier(typed.root / MODEL)
    assert info.name == "digits-cnn-own"


def test_other_data_have_no_shipped_one() -> None:
    assert shipped_extractor("folder", "auto") is None
    assert shipped_extractor("digits", "train") is None
    assert trained_name("folder") == "folder-cnn"


@pytest.mark.parametrize("name", NAMES.values())
def test_its_card_says_what_the_file_does(name: str, heldout_digits: ImageSet) -> None:
    network, info = load_classifier(FOLDER / f"{name}.safetensors", device="cpu")
    assert info.name == name
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    right = accuracy(network, heldout_digits)
    assert right == pytest.approx(info.heldout_accuracy, abs=1 / len(heldout_digits))
    assert f"{info.heldout_accuracy:.2%}".replace("%", " %") in card
    trained = info.provenance["params"]["extractor"]
    assert f"({trained['updates']} updates of {trained['batch_size']} images)" in card
    assert f"with {trained['features']} features" in card


def test_projects_without_the_setting_take_the_shipped_one(raw: dict) -> None:
    del raw["extractor"]["source"]
    assert parse_params(raw).extractor.source == "auto"
