"""The extractor's stage: it learns, says how well, and refuses to be too bad."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from pdpipe.data import ImageSet, to_unit
from pdpipe.errors import TrainingError
from pdpipe.methods.extractor import accuracy
from pdpipe.params import Params

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
train_extractor = HELPERS["train_extractor"]


def test_stage_learns_and_tells_how_well(
    make_job: MakeJob, tiny_params: Params, digits: ImageSet, heldout_digits: ImageSet
) -> None:
    changes = {"updates": 250, "batch_size": 64, "features": 64}
    extractor = tiny_params.extractor.model_copy(update=changes)
    network, info, cost = train_extractor(
        make_job("extractor"), digits, heldout_digits, extractor, "digits-cnn", {"seed": 0}
    )
    assert not network.training
    with torch.no_grad():
        _, logits = network(to_unit(heldout_digits.images))
    right = (logits.argmax(1) == heldout_digits.labels).double().mean().item()
    assert right > 0.85, right
    assert info.heldout_accuracy == pytest.approx(right, abs=1e-6)
    assert (info.name, info.classes) == ("digits-cnn", [str(k) for k in range(10)])
    assert info.network == {"channels": 1, "num_classes": 10, "features": 64, "dropout": 0.2}
    assert (cost.updates, cost.network_evaluations) == (250, 250 * 64)


def test_too_low_an_accuracy_is_an_error(
    make_job: MakeJob, tiny_params: Params, digits: ImageSet, heldout_digits: ImageSet
) -> None:
    extractor = tiny_params.extractor.model_copy(update={"updates": 2, "min_accuracy": 0.99})
    with pytest.raises(
        TrainingError, match=r"below extractor.min_accuracy \(99.00%\): give it more"
    ):
        train_extractor(make_job("extractor"), digits, heldout_digits, extractor, "x", {})


def test_accuracy_counts_all_images_once(heldout_digits: ImageSet) -> None:
    class Zero(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, torch.eye(10)[0].expand(len(x), 10)

    zeros = (heldout_digits.labels == 0).double().mean().item()
    for size in (1, 7, 500):
        found = accuracy(Zero(1, 1), heldout_digits, batch_size=size)  # type: ignore[arg-type]
        assert found == pytest.approx(zeros)
