"""Feature extraction: independent of batches and modes, and without traces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pdpipe.data import ImageSet
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.features import extract_features
from pdpipe.networks import Classifier


class Pixels(nn.Module):
    """Features are the pixels that it is given; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return x.flatten(1), x.flatten(1)[:, :2]


def test_batches_do_not_matter(classifier: Classifier, heldout: ImageSet) -> None:
    whole = extract_features(classifier, heldout.images, batch_size=1000)
    assert whole.features.shape == (len(heldout), 32)
    assert whole.logits.shape == (len(heldout), 10)
    for size in (1, 7, 100):
        found = extract_features(classifier, heldout.images, batch_size=size)
        torch.testing.assert_close(found.features, whole.features, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.logits, whole.logits, rtol=1e-5, atol=1e-5)
    uneven = heldout.images.split([100, 1, len(heldout) - 101])
    found = extract_features(classifier, iter(uneven), batch_size=64)
    torch.testing.assert_close(found.features, whole.features, rtol=1e-5, atol=1e-5)


def test_it_is_the_classifier_in_eval_mode_on_x(classifier: Classifier, heldout: ImageSet) -> None:
    found = extract_features(classifier.train(), heldout.images)
    classifier.eval()
    with torch.no_grad():
        features, logits = classifier(heldout.images.double().sub(127.5).div(127.5).float())
    torch.testing.assert_close(found.features, features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-5)


def test_x_spans_minus_one_to_one_exactly() -> None:
    images = torch.tensor([0, 51, 255, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    found = extract_features(Pixels(), images)
    assert found.features.tolist() == [[-1.0, pytest.approx(-0.6), 1.0, 1.0]]


def test_an_iterable_is_streamed() -> None:
    model, seen = Pixels(), []

    def batches() -> Iterator[Tensor]:
        for _ in range(3):
            seen.append(model.calls)
            yield torch.zeros(4, 1, 2, 2, dtype=torch.uint8)

    assert extract_features(model, batches(), batch_size=2).features.shape == (12, 4)
    assert seen == [0, 2, 4]  # each batch was used up before the next was asked for


def test_the_classifier_is_left_as_it_was(classifier: Classifier, heldout: ImageSet) -> None:
    classifier.train()
    classifier.body[1].eval()  # a frozen batch norm inside a network in training
    flags = [part.training for part in classifier.modules()]
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    found = extract_features(classifier, heldout.images)
    assert [part.training for part in classifier.modules()] == flags
    with pytest.raises(RuntimeError):  # also when the classifier fails
        extract_features(classifier, torch.zeros(2, 5, 8, 8, dtype=torch.uint8))
    assert [part.training for part in classifier.modules()] == flags
    classifier.eval()
    assert not found.features.requires_grad
    for name, value in classifier.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_callers_autocast_does_not_reach_the_metrics(
    classifier: Classifier, heldout: ImageSet
) -> None:
    plain = extract_features(classifier, heldout.images)
    with torch.autocast("cpu", torch.bfloat16):
        found = extract_features(classifier, heldout.images)
    assert torch.equal(found.features, plain.features)


def test_float_images_are_refused(classifier: Classifier) -> None:
    with pytest.raises(AssertionError, match=r"must be uint8, got torch.float32"):
        extract_features(classifier, torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("images", [torch.zeros(0, 1, 8, 8, dtype=torch.uint8), []])
def test_no_images_say_so(classifier: Classifier, images: Tensor | list[Tensor]) -> None:
    with pytest.raises(EvaluationError, match="no images to measure: generate at least 2"):
        extract_features(classifier, images)


def test_accuracy_is_of_the_labels(classifier: Classifier, heldout: ImageSet) -> None:
    found = extract_features(classifier, heldout.images)
    right = sum(
        int(k.argmax()) == int(y) for k, y in zip(found.logits, heldout.labels, strict=True)
    )
    assert found.accuracy(heldout.labels) == right / len(heldout)
    assert found.accuracy(heldout.labels) > 0.9
    assert found.accuracy((heldout.labels + 1) % 10) < 0.05
    with pytest.raises(EvaluationError, match="one integer label for each of"):
        found.accuracy(heldout.labels[:-1])


@pytest.mark.parametrize(("side", "most"), [(8, 250), (64, 128), (1024, 1)])
def test_fewer_large_images_are_seen_at_once(side: int, most: int) -> None:
    seen: list[int] = []

    class Counting(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            seen.append(len(x))
            return x[:, 0, 0, :2], x[:, 0, 0, :2]

    extract_features(Counting(), torch.zeros(most + 1, 1, side, side, dtype=torch.uint8))
    assert seen == [most, 1]
