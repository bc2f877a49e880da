"""A cell's numbers: known answers on real images, and what faults do to them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pdpipe.data import ImageSet
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.measure import (
    Measured,
    floor_record,
    mean_over_seeds,
    measure,
    paired_mse,
)
from pdpipe.evaluation.metrics import METRICS
from pdpipe.evaluation.observe import Instruments, observe
from pdpipe.evaluation.records import Cell
from pdpipe.evaluation.reference import Reference
from pdpipe.networks import Classifier


def measure_cell(
    images: torch.Tensor,
    labels: torch.Tensor | None,
    classifier: torch.nn.Module,
    reference: Reference,
    batch_size: int = 250,
) -> Measured:
    instruments = Instruments(classifier, classifier, reference)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pdpipe.evaluation.features._fitting", lambda _: batch_size)
        seen = observe(images, labels, instruments)
    return measure(seen, reference)


def test_the_training_set_measured_against_itself(
    train: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    found = measure_cell(train.images, train.labels, classifier, reference, batch_size=100)
    assert found["fid"] < 1e-5
    assert found["is"] == pytest.approx(float(reference.state["is"]["train"]), rel=1e-6)
    assert found["nearest_median"] == 0.0
    assert found["nearest_close"] == 1.0
    assert found["accuracy"] is not None
    assert found["accuracy"] > 0.95
    assert found["precision"] == found["recall"] == 1.0
    assert found["kid"] < 0.0 > found["mmd"]  # pairs of an image with itself enter the mixed term


def test_held_out_images_measure_as_the_floor(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    found = measure_cell(heldout.images, heldout.labels, classifier, reference)
    floor = floor_record(reference).floor
    expected = {
        "accuracy": floor.accuracy_heldout,
        "nearest_median": floor.nearest_median,
        "nearest_close": floor.nearest_close,
        **{name: getattr(floor, name) for name in METRICS if name != "is"},
        **{f"{key}_se": getattr(floor, f"{key}_se") for key in METRICS},
        "is": floor.is_,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=1e-9)
    assert found["fid_se"] > 0
    assert found["is_se"] > 0
    assert (found["fid_heldout"], found["fid_heldout_se"]) == (found["fid"], found["fid_se"])
    cell = Cell.model_validate({"steps": 4, "w": 0.3, "nfe": 4, "paired_mse": 0.0, **found})
    assert cell.is_ == floor.is_


def test_strictly_nearer_images_count_as_close(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    seen = observe(heldout.images, None, Instruments(classifier, classifier, reference))
    at_two = replace(reference.heldout, distances=torch.full((9,), 2.0))
    seen = replace(seen, distances=torch.tensor([4.0, 1.0, 2.0, 3.0]))
    found = measure(seen, replace(reference, heldout=at_two), errors=False)
    assert (found["nearest_median"], found["nearest_close"]) == (2.5, 0.25)


def test_the_order_and_the_batches_of_the_images_do_not_matter(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    order = torch.randperm(len(heldout), generator=torch.Generator().manual_seed(0))
    found = measure_cell(heldout.images, heldout.labels, classifier, reference, batch_size=256)
    other = measure_cell(
        heldout.images[order], heldout.labels[order], classifier, reference, batch_size=10
    )
    figures = [without_errors(one) for one in (other, found)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)


def test_batches_of_one_of_64_and_all_give_the_same_figures(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    whole, *others = (
        measure_cell(heldout.images, heldout.labels, classifier, reference, batch_size=size)
        for size in (len(heldout), 64, 1)
    )
    for other in others:
        assert other["fid"] == pytest.approx(whole["fid"], rel=1e-6)
        assert other["is"] == pytest.approx(whole["is"], rel=1e-6)
        assert other["kid"] == pytest.approx(whole["kid"], rel=1e-6)


def without_errors(found: Measured) -> dict[str, object]:
    """The figures but for their standard errors, whose groups depend on labels and order."""
    return {key: value for key, value in found.items() if not key.endswith("_se")}


def test_each_fault_shows_in_its_number(
    heldout: ImageSet, train: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    good = measure_cell(heldout.images, heldout.labels, classifier, reference)
    g = torch.Generator().manual_seed(0)

    shuffled = heldout.labels[torch.randperm(len(heldout), generator=g)]
    wrong = measure_cell(heldout.images, shuffled, classifier, reference)
    assert wrong["accuracy"] is not None
    assert wrong["accuracy"] < 0.3
    same = without_errors({**wrong, "accuracy": good["accuracy"]})
    assert same == pytest.approx(without_errors(good), rel=1e-12, abs=1e-12)

    noise = torch.randint(0, 256, heldout.images.shape, dtype=torch.uint8, generator=g)
    assert measure_cell(noise, heldout.labels, classifier, reference)["fid"] > 10 * good["fid"]

    one = heldout.labels == 4  # a collapsed model
    collapsed = measure_cell(heldout.images[one], heldout.labels[one], classifier, reference)
    assert collapsed["fid"] > 10 * good["fid"]
    assert collapsed["is"] < 1.5
    assert collapsed["recall"] < 0.5 * good["recall"]
    assert collapsed["kid"] > good["kid"] + 0.1

    copied = heldout.images.clone()
    copied[::2] = train.images[: len(copied[::2])]
    found = measure_cell(copied, None, classifier, reference)
    assert found["nearest_close"] > 0.5
    assert found["accuracy"] is None


def test_images_that_do_not_fit_say_why(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    with pytest.raises(EvaluationError, match="one integer label for each of 5 images"):
        measure_cell(heldout.images[:5], heldout.labels[:4], classifier, reference)
    rgb = heldout.images.expand(-1, 3, -1, -1)
    with pytest.raises(EvaluationError, match=r"shape \(3, 8, 8\) cannot be compared"):
        measure_cell(rgb, heldout.labels, classifier, reference)
    with pytest.raises(
        EvaluationError, match=r"the generated images: .* at least 2 samples, got 1"
    ):
        measure_cell(heldout.images[:1], heldout.labels[:1], classifier, reference)


def test_broken_weights_are_no_measurement(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features, logits = classifier(x)
            return features * math.nan, logits

    with pytest.raises(EvaluationError, match=r"the generated images: .* are not finite"):
        measure_cell(heldout.images, heldout.labels, Broken(), reference)


def test_without_errors_the_figures_are_the_same(
    heldout: ImageSet, classifier: Classifier, reference: Reference
) -> None:
    instruments = Instruments(classifier, classifier, reference)
    seen = observe(heldout.images, heldout.labels, instruments)
    whole, bare = measure(seen, reference), measure(seen, reference, errors=False)
    assert without_errors(bare) == pytest.approx(without_errors(whole), rel=1e-9)
    assert {value for key, value in bare.items() if key.endswith("_se")} == {None}
    assert mean_over_seeds([whole]) == whole
    twice = mean_over_seeds([whole, bare])
    assert without_errors(twice) == pytest.approx(without_errors(whole), rel=1e-9)
    assert twice["fid_se"] == pytest.approx(0.0, abs=1e-9)
    unlabelled = measure(observe(heldout.images, None, instruments), reference, errors=False)
    assert mean_over_seeds([unlabelled] * 2)["accuracy"] is None


def test_paired_error_is_the_mean_square_after_clamping() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = (1.5 * torch.randn(6, 2, 5, 5, generator=g) for _ in "ab")
    x, y = (np.clip(side.numpy().astype(np.float64), -1, 1) for side in (a, b))
    assert paired_mse(a, b) == pytest.approx(((x - y) ** 2).mean(), rel=1e-14)
    assert paired_mse(a, a) == 0.0
    assert paired_mse(torch.full((1, 1, 2, 2), 3.0), torch.ones(1, 1, 2, 2)) == 0.0
    assert paired_mse(-torch.ones(3, 1, 2, 2), torch.ones(3, 1, 2, 2).double()) == 4.0


def test_pairs_that_do_not_compare_say_why() -> None:
    x = torch.zeros(3, 1, 2, 2)
    with pytest.raises(EvaluationError, match=r"\(3, 1, 2, 2\) and \(2, 1, 2, 2\): evaluate the"):
        paired_mse(x, x[:2])
    with pytest.raises(EvaluationError, match="at least 1, got"):
        paired_mse(x[:0], x[:0])
    with pytest.raises(EvaluationError, match="makes images that are not finite"):
        paired_mse(x, x / 0)
