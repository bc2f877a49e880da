"""Stage two against Algorithm 2 written out, and with students that know the answer."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.data import ImageSet
from pdpipe.diffusion import Condition, CosineSchedule
from pdpipe.methods.halve import halving_objective
from pdpipe.models import DiffusionModel, Predictor, load_model, save_model
from pdpipe.networks import UNet
from pdpipe.params import Params
from pdpipe.training.loop import make_batch

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
train_guide = HELPERS["train_guide"]
train_halving = HELPERS["train_halving"]
train_teacher = HELPERS["train_teacher"]

MakeUNet = Callable[..., UNet]
SCHEDULE = CosineSchedule()
STUDENT = {"w_frequencies": 4, "w_max": 4.0}
LOW, HIGH = math.atan(math.exp(-10)), math.atan(math.exp(10))


def flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """(z_t, log_snr, labels, w) of a network's arguments."""
    z_t, log_snr, given = args
    return z_t, log_snr, given.label, given.w


def watch(network: nn.Module) -> list[tuple[Tensor, ...]]:
    """(z_t, log_snr, labels, w) of every call from now on."""
    seen: list[tuple[Tensor, ...]] = []
    network.register_forward_hook(lambda module, args, out: seen.append(flat(args)))
    return seen


def index_of(log_snr: Tensor, num_steps: int) -> Tensor:
    """The grid index i of t = i/N from its log-SNR: a whole number."""
    t = (torch.atan(torch.exp(-log_snr.double() / 2)) - LOW) / (HIGH - LOW)
    i = t * num_steps
    assert (i - i.round()).abs().max() < 1e-3
    return i.round().long()


def coefficients(t: float) -> tuple[float, float]:
    """(alpha_t, sigma_t)."""
    phi = LOW + t * (HIGH - LOW)
    return math.cos(phi), math.sin(phi)


def log_snr_at(t: float) -> float:
    alpha, sigma = coefficients(t)
    return 2 * math.log(alpha / sigma)


Denoise = Callable[[Tensor, float], Tensor]  # (z, t) -> x_hat


def x_target(denoise: Denoise, z_t: Tensor, i: int, num_steps: int, ratio: int) -> Tensor:
    """x~ of the papers, by their formula, after `ratio` DDIM steps of the teacher."""
    z = z_t
    for j in range(ratio):
        t, s = ((ratio * i - k) / (ratio * num_steps) for k in (j, j + 1))
        (alpha_t, sigma_t), (alpha_s, sigma_s) = coefficients(t), coefficients(s)
        x_hat = denoise(z, t)
        z = alpha_s * x_hat + sigma_s * (z - alpha_t * x_hat) / sigma_t
    (alpha_t, sigma_t), (alpha, sigma) = (
        coefficients(i / num_steps),
        coefficients((i - 1) / num_steps),
    )
    return (z - sigma / sigma_t * z_t) / (alpha - sigma / sigma_t * alpha_t)


def naive_loss(
    teacher: UNet, student: UNet, call: tuple[Tensor, ...], num_steps: int, ratio: int, kind: str
) -> Tensor:
    """Algorithm 2, image by image, with the truncated SNR weight."""
    losses = []
    indices = index_of(call[1], num_steps)
    for z_t, i, label, w in zip(call[0], indices, call[2], call[3], strict=True):

        def predict(
            network: UNet, z: Tensor, t: float, label: Tensor = label, w: Tensor = w
        ) -> Tensor:
            log_snr = torch.tensor([log_snr_at(t)])
            out = network(z.float(), log_snr, Condition(label[None], w[None])).double()
            alpha, sigma = coefficients(t)
            return alpha * z - sigma * out if kind == "v" else out

        z, t = z_t[None].double(), int(i) / num_steps
        goal = x_target(lambda z, t: predict(teacher, z, t), z, int(i), num_steps, ratio)
        alpha, sigma = coefficients(t)
        omega = max((alpha / sigma) ** 2, 1.0)
        losses.append(omega * (goal - predict(student, z, t)).square().mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["v", "x"])
@pytest.mark.parametrize(("num_steps", "ratio"), [(4, 2), (1, 2), (3, 2), (16, 2), (4, 4), (2, 3)])
def test_loss_is_algorithm_2(
    num_steps: int,
    ratio: int,
    kind: str,
    make_unet: MakeUNet,
    make_job: MakeJob,
    digits: ImageSet,
) -> None:
    teacher, student = make_unet(seed=1, **STUDENT), make_unet(seed=2, **STUDENT)
    batch = make_batch(make_job(), digits, 32, 0, False)
    seen, teachers = watch(student), watch(teacher)
    objective = halving_objective(
        Predictor(teacher, SCHEDULE, kind).denoiser,
        SCHEDULE,
        kind,
        "snr_truncated",
        (0.0, 4.0),
        num_steps,
        ratio,
    )
    loss = objective(student, batch)
    (call,) = seen
    assert len(teachers) == ratio
    for z, _, labels, w in teachers:
        assert len(z) == 32
        assert torch.equal(labels, batch.given.label)
        assert torch.equal(w, call[3])
    assert torch.equal(call[2], batch.given.label)
    expected = naive_loss(teacher, student, call, num_steps, ratio, kind)
    assert_close(loss.double(), expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize("num_steps", [1, 5])
def test_every_grid_index_is_drawn_equally_often(
    num_steps: int, make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    teacher, student = make_unet(seed=1, **STUDENT), make_unet(seed=2, **STUDENT)
    batch = make_batch(make_job(), digits, 1000, 0, False)
    seen = watch(student)
    halving_objective(
        Predictor(teacher, SCHEDULE, "v").denoiser,
        SCHEDULE,
        "v",
        "snr_truncated",
        (0.5, 3.0),
        num_steps,
        2,
    )(student, batch)
    z_t, log_snr, _, w = seen[0]
    i = index_of(log_snr, num_steps)
    assert i.min() == 1
    assert i.max() == num_steps
    expected = 1000 / num_steps
    assert ((torch.bincount(i)[1:] - expected) ** 2 / expected).sum() < 25
    counts = torch.histc(w, 10, 0.5, 3.0)
    assert counts.sum() == 1000
    assert ((counts - 100) ** 2 / 100).sum() < 35
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in SCHEDULE.alpha_sigma(i / num_steps))
    eps = (z_t - alpha * batch.x) / sigma  # fresh noise on the data, not a sampler's state
    assert abs(eps.mean()) < 0.02
    assert abs(eps.var() - 1) < 0.03


class Gaussian(nn.Module):
    """The teacher's best v_hat for class y and weight w: data N(y/10 + w/20, 0.5²)."""

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        z = z_t.double()
        alpha, sigma = (
            torch.sigmoid(k * log_snr.double()).sqrt().view(-1, 1, 1, 1) for k in (1, -1)
        )
        mean = (given.label / 10 + given.w.double() / 20).view(-1, 1, 1, 1)
        r = (z - alpha * mean) / (alpha**2 * 0.25 + sigma**2)
        return (alpha * sigma * 0.75 * r - sigma * mean).float()


class HalvedGaussian(nn.Module):
    """The perfect student of `Gaussian`: two of its steps in one, by the papers' formulas."""

    def __init__(self, num_steps: int, ratio: int, shift: float = 0.0) -> None:
        super().__init__()
        self.num_steps, self.ratio, self.shift = num_steps, ratio, shift

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        out = []
        for z, i, label, weight in zip(
            z_t.double(), index_of(log_snr, self.num_steps), given.label, given.w, strict=True
        ):
            mean = float(label) / 10 + (float(weight) + self.shift) / 20

            def x_hat(z: Tensor, t: float, mean: float = mean) -> Tensor:
                alpha, sigma = coefficients(t)
                return mean + alpha * 0.25 * (z - alpha * mean) / (alpha**2 * 0.25 + sigma**2)

            goal = x_target(x_hat, z, int(i), self.num_steps, self.ratio)
            alpha, sigma = coefficients(int(i) / self.num_steps)
            out.append((alpha * z - goal) / sigma)
        return torch.stack(out).float()


@pytest.mark.parametrize(("num_steps", "ratio"), [(1, 2), (2, 2), (8, 2), (2, 4)])
def test_a_student_that_knows_the_answer_has_no_loss(
    num_steps: int, ratio: int, make_job: MakeJob, digits: ImageSet
) -> None:
    teacher: Any = Gaussian()
    objective = halving_objective(
        Predictor(teacher, SCHEDULE, "v").denoiser,
        SCHEDULE,
        "v",
        "snr_truncated",
        (0.0, 4.0),
        num_steps,
        ratio,
    )

    def loss(student: nn.Module) -> float:
        return float(objective(student, make_batch(make_job(), digits, 64, 0, False)))

    assert loss(HalvedGaussian(num_steps, ratio)) < 1e-9
    assert loss(HalvedGaussian(num_steps, ratio + 1)) > 1e-6, "another number of teacher steps"
    assert loss(HalvedGaussian(num_steps, ratio, shift=0.5)) > 1e-5, "another w"


class PointMass(nn.Module):
    """x_hat is y/10, whatever the noise: any number of steps lands there."""

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        return (given.label / 10).view(-1, 1, 1, 1).expand_as(z_t)


@pytest.mark.parametrize("num_steps", [1, 2, 64, 512])
def test_a_point_mass_is_its_own_student(
    num_steps: int, make_job: MakeJob, digits: ImageSet
) -> None:
    teacher: Any = PointMass()
    batch = make_batch(make_job(), digits, 256, 0, False)
    objective = halving_objective(
        Predictor(teacher, SCHEDULE, "x").denoiser,
        SCHEDULE,
        "x",
        "constant",
        (0.0, 4.0),
        num_steps,
        2,
    )  # the error of x: that of v grows by 1/sigma in float32
    assert objective(PointMass(), batch) < 1e-11


@pytest.fixture
def above(tmp_path: Path, make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    """A student of four steps, as the stage gets it: from its file."""
    model = make_model(STUDENT)
    save_model(tmp_path / "student-4.safetensors", model.network, model.info)
    return load_model(tmp_path / "student-4.safetensors", device="cpu")


def test_stage_starts_from_its_teachers_weights(
    above: DiffusionModel, make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    rung = tiny_params.ladder["2"].model_copy(update={"learning_rate": 1e-30})
    network, *_ = train_halving(make_job(), digits, above, 2, rung, tiny_params.halve, {})
    for name, tensor in network.state_dict().items():
        assert_close(tensor, above.network.state_dict()[name], rtol=0, atol=1e-6)


def test_teacher_is_frozen_and_in_evaluation_mode_throughout(
    above: DiffusionModel, make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    before = {name: tensor.clone() for name, tensor in above.network.state_dict().items()}
    calls: list[tuple[bool, bool, int]] = []
    above.network.register_forward_hook(
        lambda module, args, out: calls.append(
            (any(m.training for m in module.modules()), out.requires_grad, len(out))
        )
    )
    network, *_ = train_halving(
        make_job(), digits, above, 2, tiny_params.ladder["2"], tiny_params.halve, {}
    )
    teachers = [call for call in calls if not call[1]]
    assert teachers == [(False, False, 8)] * 60, "two batches of 8 an update"
    changed = 0.0
    for name, tensor in above.network.state_dict().items():
        assert torch.equal(tensor, before[name])
        changed += float((network.state_dict()[name] - tensor).abs().sum())
    assert changed > 0


@pytest.mark.parametrize(("num_steps", "ratio"), [(2, 2), (1, 4)])
def test_stage_learns_and_tells_what_it_made(
    num_steps: int,
    ratio: int,
    above: DiffusionModel,
    make_job: MakeJob,
    tiny_params: Params,
    digits: ImageSet,
) -> None:
    job = make_job(f"student-{num_steps}")
    rung = tiny_params.ladder["2"].model_copy(update={"updates": 120})
    network, info, cost = train_halving(
        job, digits, above, num_steps, rung, tiny_params.halve, {"seed": 1}
    )
    losses = [m["loss"] for _, m in job.tracker.points]  # type: ignore[attr-defined]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    expected = above.info.model_copy(
        update={"name": f"student-{num_steps}", "steps": num_steps, "provenance": {"seed": 1}}
    )
    assert info == expected
    assert network.config == above.network.config
    assert cost.network_evaluations == (ratio + 1) * 120 * 8


@pytest.mark.parametrize(("ema_decay", "weights"), [(0.9, "ema"), (0.0, "raw")])
def test_a_model_says_which_weights_it_holds(
    ema_decay: float,
    weights: str,
    above: DiffusionModel,
    make_model: Callable[..., DiffusionModel],
    make_job: MakeJob,
    tiny_params: Params,
    digits: ImageSet,
) -> None:
    changes = {"ema_decay": ema_decay, "updates": 1}
    rung = tiny_params.ladder["2"].model_copy(update={"updates": 1})
    teacher, guide, halve = (
        section.model_copy(update=changes)
        for section in (tiny_params.teacher, tiny_params.guide, tiny_params.halve)
    )
    _, info, _ = train_teacher(
        make_job("teacher"), digits, teacher, tiny_params.network, tiny_params.schedule, {}
    )
    assert info.weights == weights
    _, info, _ = train_guide(make_job("student-4"), digits, make_model(), guide, {})
    assert info.weights == weights
    _, info, _ = train_halving(make_job(), digits, above, 2, rung, halve, {})
    assert info.weights == weights
