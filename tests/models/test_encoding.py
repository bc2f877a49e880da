"""From images to noise, and models that are not sampled as a student of DDIM is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.diffusion import (
    DDIM,
    Condition,
    CosineSchedule,
    Schedule,
    StochasticDDIM,
    encode,
    uniform_grid,
)
from pdpipe.errors import ModelError
from pdpipe.models import DiffusionModel, encode_images
from pdpipe.networks import Network

MakeModel = Callable[..., DiffusionModel]
STUDENT = {"w_frequencies": 4, "w_max": 4.0}
LABELS = [k % 10 for k in range(23)]
X = torch.rand(len(LABELS), 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


def watch(network: nn.Module) -> list[int]:
    """How many images each evaluation from now on has."""
    seen: list[int] = []
    network.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    return seen


class Exact(Network):
    """The best v_hat when the images of class y are N(y/10 - 0.5, 0.4²), whose flow is known."""

    std = 0.4

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(num_classes=10, w_frequencies=0))

    def mean(self, labels: Tensor) -> Tensor:
        return (labels / 10 - 0.5).double().view(-1, 1, 1, 1)

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        alpha, sigma = (
            torch.sigmoid(k * log_snr.double()).sqrt().view(-1, 1, 1, 1) for k in (1, -1)
        )
        assert given.label is not None
        mean = self.mean(given.label)
        r = (z_t.double() - alpha * mean) / (alpha**2 * self.std**2 + sigma**2)
        return (alpha * sigma * (1 - self.std**2) * r - sigma * mean).to(z_t.dtype)

    def noise_of(self, x: Tensor, labels: Tensor, schedule: Schedule) -> Tensor:
        """z_1 of images taken as z_0: quantiles go to quantiles."""
        ends = [schedule.alpha_sigma(torch.tensor(t, dtype=torch.float64)) for t in (0.0, 1.0)]
        (alpha, _), (alpha_1, _) = ends
        std, std_1 = ((a**2 * self.std**2 + s**2).sqrt() for a, s in ends)
        mean = self.mean(labels)
        return (alpha_1 * mean + std_1 * (x.double() - alpha * mean) / std).float()


def test_exact_denoiser_encodes_along_its_flow_and_back(make_model: MakeModel) -> None:
    model, network, labels = make_model(), Exact(), torch.tensor(LABELS)
    model.network = network
    exact = network.noise_of(X, labels, model.schedule)
    errors: list[tuple[float, float]] = []
    for steps in (32, 64, 128):
        z_1 = encode_images(model, X, labels, steps=steps)
        assert z_1.dtype == torch.float32
        decoder = DDIM(model.schedule)
        again = decoder.sample(model.denoiser(labels, 0.0), z_1, uniform_grid(steps))
        errors.append((float((z_1 - exact).abs().max()), float((again - X).abs().max())))
    assert max(errors[-1]) < 0.06
    for coarse, fine in pairwise(errors):  # both are of first order
        assert all(1.7 < a / b < 2.3 for a, b in zip(coarse, fine, strict=True)), errors


@pytest.mark.parametrize("w", [0.0, 1.5])
@pytest.mark.parametrize("kind", ["encoder", "student", "teacher"])
def test_encoding_is_ddim_backwards_at_its_label_and_w(
    kind: str, w: float, make_model: MakeModel
) -> None:
    model = make_model({} if kind == "teacher" else STUDENT, kind=kind)
    labels, steps = torch.tensor(LABELS), 4
    seen = watch(model.network)
    found = encode_images(model, X, labels, w=w, steps=steps if kind == "teacher" else None)
    images = len(LABELS) * model.evaluations_per_step(w)
    assert seen == [images] * steps
    weights = torch.full((len(X),), w)

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        of = (
            model.predictor.denoiser(Condition(y, weights))(z_t, t)
            for y in (labels, torch.full_like(labels, 10))
        )
        conditional = next(of)
        return conditional if kind != "teacher" else (1 + w) * conditional - w * next(of)

    *_, end = encode(denoiser, X, uniform_grid(steps), model.schedule)
    assert_close(found, end.z, rtol=0, atol=1e-4)
    parts = encode_images(model, X, labels, w=w, steps=steps, batch_size=5)
    assert_close(parts, found, rtol=0, atol=1e-4)
    assert (encode_images(model, X, labels.flip(0), w=w, steps=steps) - found).abs().max() > 0.01
    if w > 0:
        assert (encode_images(model, X, labels, steps=steps) - found).abs().max() > 0.01


@pytest.mark.parametrize(
    ("changes", "given", "complaint"),
    [
        ({}, {"x": X[:, :, :7]}, r"takes images of shape \(1, 8, 8\) \(channels, height, width\)"),
        ({}, {"x": X[0]}, r"takes images of shape \(1, 8, 8\)"),
        ({}, {"labels": torch.tensor([3])}, "there are 23 images and 1 label: give one for each"),
        ({}, {"labels": torch.full((23,), 10)}, "label 10 is not a class of student-4"),
        ({}, {"w": 4.5}, "w from 0 to 4, not 4.5"),
        ({}, {"steps": 0}, "the number of steps is 0: use 1 or more"),
        ({}, {"batch_size": 0}, "the batch size is 0: use 1 or more"),
        ({"sampler": "stochastic"}, {}, "was distilled for the stochastic sampler, which can"),
    ],
)  # fmt: skip
def test_what_cannot_be_encoded(
    changes: dict[str, Any], given: dict[str, Any], complaint: str, make_model: MakeModel
) -> None:
    model = make_model(STUDENT, **changes)
    arguments = {"x": X, "labels": torch.tensor(LABELS)} | given
    with pytest.raises(ModelError, match=complaint):
        encode_images(model, **arguments)


def test_no_images_no_noise(make_model: MakeModel) -> None:
    none = encode_images(make_model(STUDENT), X[:0], torch.tensor([], dtype=torch.int64))
    assert none.shape == (0, 1, 8, 8)


def test_an_encoder_makes_no_images(make_model: MakeModel) -> None:
    with pytest.raises(
        ModelError, match=r"^student-4 is an encoder, .* `pdpipe.models.encode_images`, and take"
    ):
        make_model(STUDENT, kind="encoder").sample([1])


def test_a_stochastic_student_is_sampled_as_it_was_trained(make_model: MakeModel) -> None:
    model, ddim = make_model(STUDENT, sampler="stochastic"), make_model(STUDENT)
    found = model.sample(LABELS, w=1.0)
    by_name = model.sample(LABELS, w=1.0, sampler="stochastic")
    by_object = model.sample(LABELS, w=1.0, sampler=StochasticDDIM(CosineSchedule(), clip=True))
    assert torch.equal(found, by_name)
    assert torch.equal(found, by_object)
    assert torch.equal(found, ddim.sample(LABELS, w=1.0, sampler="stochastic"))
    assert torch.equal(model.sample(LABELS, w=1.0, sampler="ddim"), ddim.sample(LABELS, w=1.0))
    assert (found - ddim.sample(LABELS, w=1.0)).abs().max() > 0.05


@pytest.mark.parametrize("steps", [1, 3])
def test_naive_students_take_two_evaluations_a_step(steps: int, make_model: MakeModel) -> None:
    """Both take w; at w = 0 the conditional one is enough."""
    model, labels = make_model(STUDENT, guidance="mixture"), torch.tensor(LABELS)
    for w, cost in ((0.0, 1), (1.5, 2)):
        seen = watch(model.network)
        model.sample(LABELS, w=w, steps=steps)
        assert model.evaluations_per_step(w) == cost
        assert seen == [cost * len(LABELS)] * steps
        z, t, weights = X, torch.tensor(0.6, dtype=torch.float64), torch.full((len(X),), w)
        conditional, unconditional = (
            model.predictor.denoiser(Condition(y, weights))(z, t)
            for y in (labels, torch.full_like(labels, 10))
        )
        expected = (1 + w) * conditional - w * unconditional
        assert_close(model.denoiser(labels, w)(z, t), expected, rtol=0, atol=2e-5)
    without = model.predictor.denoiser(Condition(labels, 0 * weights))(z, t)
    assert (without - conditional).abs().max() > 0.01
