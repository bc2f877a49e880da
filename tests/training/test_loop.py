"""The loop against a naive one: batches, updates, average, log; and its ends."""

from __future__ import annotations

import copy
import math
import os
import runpy
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.data import ImageSet, to_unit
from pdpipe.errors import TrainingError
from pdpipe.plan import Batch, Optimization
from pdpipe.training.job import Job
from pdpipe.training.loop import make_batch, train

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
make_plan = HELPERS["make_plan"]

Settings = Callable[..., Optimization]


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))


def objective(network: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of noisy images, so that every kind of draw counts."""
    strength = batch.uniform().float()
    logits: Tensor = network(batch.x + strength * batch.noise())
    return 3.0 * nn.functional.cross_entropy(logits, batch.given.label)


def naive_training(
    job: Job, network: nn.Module, images: ImageSet, o: Optimization
) -> tuple[list[Tensor], list[Tensor], list[float]]:
    """(raw weights, averaged weights, losses): AdamW and the average written out, in float64."""
    network = copy.deepcopy(network)
    weights = [p.detach().double() for p in network.parameters()]
    first = [torch.zeros_like(p) for p in weights]
    second = [torch.zeros_like(p) for p in weights]
    average: list[Tensor] = []
    losses = []
    for step in range(o.updates):
        loss = objective(network, make_batch(job, images, o.batch_size, step, False))
        losses.append(loss.item())
        gradients = [g.double() for g in torch.autograd.grad(loss, list(network.parameters()))]
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        gradients = [g * min(1.0, o.grad_clip / norm) for g in gradients]
        rate, (beta1, beta2) = o.rate(step), o.betas
        for k, g in enumerate(gradients):
            first[k] = beta1 * first[k] + (1 - beta1) * g
            second[k] = beta2 * second[k] + (1 - beta2) * g**2
            m = first[k] / (1 - beta1 ** (step + 1))
            v = second[k] / (1 - beta2 ** (step + 1))
            weights[k] = weights[k] * (1 - rate * o.weight_decay) - rate * m / (v.sqrt() + 1e-8)
        with torch.no_grad():
            for p, w in zip(network.parameters(), weights, strict=True):
                p.copy_(w)
        d = o.ema_decay if step else 0.0  # the first average is a copy
        average = [d * a + (1 - d) * w for a, w in zip(average or weights, weights, strict=True)]
    return weights, average, losses


@pytest.mark.parametrize("ema_decay", [0.8, 0.0])
def test_training_is_the_naive_loop(
    ema_decay: float,
    make_job: MakeJob,
    settings: Settings,
    network: nn.Sequential,
    digits: ImageSet,
) -> None:
    job, o = make_job(), settings(ema_decay=ema_decay)
    raw, averaged, losses = naive_training(job, network, digits, o)
    trained, seconds = train(job, make_plan(network, objective, o), digits)
    for found, expected, last in zip(trained.parameters(), averaged, raw, strict=True):
        assert_close(found.double(), expected, rtol=0, atol=1e-5)
        if ema_decay:
            assert (expected - last).abs().max() > 1e-3, "the average is no different"
    assert seconds > 0
    points = job.tracker.points  # type: ignore[attr-defined]
    assert [step for step, _ in points] == [10, 20, 30]
    for step, metrics in points:
        assert metrics["loss"] == pytest.approx(sum(losses[step - 10 : step]) / 10, rel=1e-4)
        assert metrics["learning_rate"] == o.rate(step - 1)
    assert job.tracker.published == 3  # type: ignore[attr-defined]


def test_the_average_is_over_the_weights_after_each_update(
    make_job: MakeJob, settings: Settings, digits: ImageSet
) -> None:
    """With two updates: ema = d w_1 + (1 - d) w_2, the w seen by the objective and its gradient."""
    seen: list[float] = []

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(1.0))

    def descend(network: One, batch: Batch) -> Tensor:
        seen.append(network.w.item())
        return network.w

    o = settings(updates=3, ema_decay=0.9, weight_decay=0.0, warmup=0, anneal=0.0)
    trained, _ = train(make_job(), make_plan(One(), descend, o), digits)
    # the gradient is always 1, so that Adam takes steps of exactly the learning rate
    assert seen == pytest.approx([1.0, 0.99, 0.98])
    assert trained.w.item() == pytest.approx(0.9 * (0.9 * 0.99 + 0.1 * 0.98) + 0.1 * 0.97, abs=1e-6)


def test_modes(
    make_job: MakeJob, settings: Settings, network: nn.Sequential, digits: ImageSet
) -> None:
    modes = []

    def note(module: nn.Module, batch: Batch) -> Tensor:
        modes.append(module.training)
        return objective(module, batch)

    trained, _ = train(make_job(), make_plan(network.eval(), note, settings(updates=2)), digits)
    assert modes == [True, True]
    assert not trained.training
    assert not any(p.requires_grad for p in trained.parameters())


def test_batch_is_a_function_of_seed_stage_and_step_alone(
    make_job: MakeJob, digits: ImageSet
) -> None:
    def draws(stage: str, seed: int, step: int) -> tuple[Tensor, ...]:
        torch.rand(step * 7 + 3)  # whatever was drawn before
        batch = make_batch(make_job(stage, seed=seed), digits, 16, step, True)
        return batch.x, batch.uniform(), batch.noise(), batch.uniform(), torch.rand(5)

    first = draws("teacher", 0, 12)
    for part, again in zip(first, draws("teacher", 0, 12), strict=True):
        assert torch.equal(part, again)
    for other in (("teacher", 1, 12), ("guide", 0, 12), ("teacher", 0, 13)):
        for part, different in zip(first[1:], draws(*other)[1:], strict=True):
            assert not torch.equal(part, different), other


def test_draws_of_a_batch_are_independent_and_of_their_distributions(
    make_job: MakeJob, digits: ImageSet
) -> None:
    batch = make_batch(make_job(), digits, 4000, 0, False)
    a, b = batch.uniform().flatten(), batch.uniform().flatten()
    assert a.dtype == torch.float64
    assert (a >= 0).all()
    assert (a < 1).all()
    for u in (a, b):
        counts = torch.histc(u, 10, 0, 1)
        assert ((counts - 400) ** 2 / 400).sum() < 35  # chi², 9 degrees of freedom
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.08
    eps = batch.noise()
    assert eps.shape == batch.x.shape
    assert abs(eps.mean()) < 0.01
    assert abs(eps.var() - 1) < 0.02


def test_batches_hold_the_data_in_range_with_their_labels(
    make_job: MakeJob, digits: ImageSet
) -> None:
    found = set()
    for step in range(len(digits) // 61 + 1):  # an epoch
        batch = make_batch(make_job(), digits, 61, step, False)
        found |= {
            (x.numpy().tobytes(), int(y)) for x, y in zip(batch.x, batch.given.label, strict=True)
        }
    pairs = zip(to_unit(digits.images), digits.labels, strict=True)
    assert found == {(x.numpy().tobytes(), int(y)) for x, y in pairs}


def test_flip_mirrors_about_half_of_the_images(make_job: MakeJob, digits: ImageSet) -> None:
    plain, flipped = (make_batch(make_job(), digits, 1000, 5, flip) for flip in (False, True))
    same = (flipped.x == plain.x).flatten(1).all(1)
    mirrored = (flipped.x == plain.x.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 420 < mirrored.sum() < 580
    assert torch.equal(plain.given.label, flipped.given.label)
    assert torch.equal(plain.noise(), flipped.noise())


def test_dropout_is_seeded_by_the_update(
    make_job: MakeJob, settings: Settings, digits: ImageSet
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    first, second = (
        train(
            make_job(key=key * 64), make_plan(copy.deepcopy(network), objective, settings()), digits
        )[0]
        for key in "ab"
    )
    assert torch.equal(first[2].weight, second[2].weight)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(
    broken: float, make_job: MakeJob, settings: Settings, network: nn.Module, digits: ImageSet
) -> None:
    job, updates = make_job("teacher", snapshot_seconds=1e-9), 0

    def explode(module: nn.Module, batch: Batch) -> Tensor:
        nonlocal updates
        updates += 1
        return objective(module, batch) * (broken if updates == 14 else 1.0)

    with pytest.raises(
        TrainingError, match=r"the loss of teacher is not finite at update 20: lower"
    ):
        train(job, make_plan(network, explode, settings()), digits)
    saved = job.snapshots.load()
    assert saved is not None
    assert saved["step"] == 10
    assert all(p.isfinite().all() for p in saved["network"].values())


@pytest.mark.parametrize("at", [30, 20, 13])
def test_weights_that_are_not_finite_are_never_written(
    at: int, make_job: MakeJob, settings: Settings, network: nn.Sequential, digits: ImageSet
) -> None:
    """A gradient without a loss of its own: what the last update breaks shows in no loss."""
    job, updates = make_job("teacher", snapshot_seconds=1e-9), 0
    weight = network[1].weight
    weight.register_hook(lambda grad: grad * (float("nan") if updates == at else 1.0))

    def watched(module: nn.Module, batch: Batch) -> Tensor:
        nonlocal updates
        updates += 1
        return objective(module, batch)

    with pytest.raises(TrainingError, match=r"(a weight|the loss) of teacher is not finite at "):
        train(job, make_plan(network, watched, settings()), digits)
    assert job.snapshots.load_finished() is None
    saved = job.snapshots.load()
    assert saved is not None
    assert saved["step"] == (at - 1) // 10 * 10
    assert all(p.isfinite().all() for p in saved["network"].values())


@pytest.mark.parametrize(
    ("decay", "advice"), [(0.02, "its weight_decay or its grad_clip"), (0.0, "or its grad_clip")]
)
def test_the_advice_names_every_setting_that_can_break_the_weights(
    decay: float,
    advice: str,
    make_job: MakeJob,
    settings: Settings,
    network: nn.Module,
    digits: ImageSet,
) -> None:
    o = settings(weight_decay=decay, learning_rate=1e38)
    with pytest.raises(TrainingError, match=rf"lower its learning_rate,? {advice} in params.yaml"):
        train(make_job(), make_plan(network, objective, o), digits)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_between_two_updates(
    number: signal.Signals,
    make_job: MakeJob,
    settings: Settings,
    network: nn.Module,
    digits: ImageSet,
) -> None:
    job, updates = make_job("teacher"), 0
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]

    def interrupt(module: nn.Module, batch: Batch) -> Tensor:
        nonlocal updates
        updates += 1
        if updates == 14:
            os.kill(os.getpid(), number)
        return objective(module, batch)

    with pytest.raises(KeyboardInterrupt):
        train(job, make_plan(network, interrupt, settings()), digits)
    assert updates == 14
    saved = job.snapshots.load()
    assert saved is not None
    assert saved["step"] == 14
    assert job.tracker.steps == [10, 14]  # type: ignore[attr-defined]
    assert job.tracker.published == 2  # type: ignore[attr-defined]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
