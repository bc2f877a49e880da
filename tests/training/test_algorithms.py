"""The objectives of GD's Algorithms 3, 4 and 5 against the papers' lines, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.data import ImageSet
from pdpipe.diffusion import CosineSchedule
from pdpipe.models import DiffusionModel
from pdpipe.networks import UNet
from pdpipe.params import Params, Rung
from pdpipe.training.halve import ALGORITHMS
from pdpipe.training.loop import make_batch
from pdpipe.training.work import halving_work, ratio_of

if TYPE_CHECKING:
    from conftest import MakeJob

MakeModel = Callable[..., DiffusionModel]
STUDENT = {"w_frequencies": 4, "w_max": 4.0}
SCHEDULE = CosineSchedule()
NULL = 10
WEIGHTS = {"v": "snr_truncated", "x": "snr"}


class Call:
    """A network at one image, label and w: x_hat at any z and t, by textbook arithmetic."""

    def __init__(self, network: UNet, kind: str, label: int, w: float) -> None:
        self.network, self.kind, self.label, self.w = network, kind, label, w

    def __call__(self, z: Tensor, t: float) -> Tensor:
        alpha, sigma = coefficients(t)
        log_snr = torch.tensor([2 * math.log(alpha / sigma)])
        given = (torch.tensor([self.label]), torch.tensor([self.w]))
        out = self.network(z.float(), log_snr, *given).double()
        return alpha * z - sigma * out if self.kind == "v" else out


def coefficients(t: float) -> tuple[float, float]:
    """(alpha_t, sigma_t)."""
    alpha, sigma = SCHEDULE.alpha_sigma(torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


Predict = Callable[[Tensor, float], Tensor]


def step(x_hat: Tensor, z: Tensor, t: float, s: float) -> Tensor:
    """DDIM."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = coefficients(t), coefficients(s)
    return alpha_s * x_hat + sigma_s / sigma_t * (z - alpha_t * x_hat)


def solved(z_end: Tensor, z: Tensor, t: float, s: float) -> Tensor:
    """The papers' x_target: the x_hat whose DDIM step from t to s ends at z_end."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = coefficients(t), coefficients(s)
    return (z_end - sigma_s / sigma_t * z) / (alpha_s - sigma_s / sigma_t * alpha_t)


def stochastic(teacher: Predict, z: Tensor, i: int, n: int) -> Tensor:
    """Algorithm 3."""
    t = i / n
    if i == 1:
        return teacher(z, t)
    middle, end = t - 1 / n, max(t - 2 / n, 0.0)
    z_middle = step(teacher(z, t), z, t, middle)
    return solved(step(teacher(z_middle, middle), z_middle, middle, end), z, t, end)


def encoder(teacher: Predict, z: Tensor, i: int, n: int) -> Tensor:
    """Algorithm 4; its i is 0 … n - 1."""
    t, middle, end = i / n, (i + 0.5) / n, (i + 1) / n
    z_middle = step(teacher(z, t), z, t, middle)
    return solved(step(teacher(z_middle, middle), z_middle, middle, end), z, t, end)


def naive(first: Predict, second: Predict, z: Tensor, i: int, n: int) -> Tensor:
    """Algorithm 5: the first step guided, the second by one of the two."""
    t, middle, end = i / n, (i - 0.5) / n, (i - 1) / n
    z_middle = step(first(z, t), z, t, middle)
    return solved(step(second(z_middle, middle), z_middle, middle, end), z, t, end)


def mixture(conditional: Predict, unconditional: Predict, w: float) -> Predict:
    return lambda z, t: (1 + w) * conditional(z, t) - w * unconditional(z, t)


def plain_loss(
    algorithm: str, teacher: UNet, student: UNet, call: tuple[Tensor, ...], n: int, kind: str
) -> Tensor:
    """The mean over the student's inputs of omega ||x_target - x_hat||², omega by `WEIGHTS`."""
    losses = []
    for z_t, log_snr, label, w in zip(*call, strict=True):
        z, y, weight = z_t[None].double(), int(label), float(w)
        t = float(SCHEDULE.time(log_snr.double()))
        i = round(t * n)
        assert t * n == pytest.approx(i, abs=1e-3)
        if algorithm == "naive":
            true = next(int(a) for b, a in zip(call[0], call[2], strict=True) if (b == z_t).all())
            parts = [Call(teacher, kind, each, weight) for each in (true, NULL)]
            target = naive(mixture(*parts, weight), parts[y == NULL], z, i, n)
        else:
            written = {"stochastic": stochastic, "encoder": encoder}[algorithm]
            target = written(Call(teacher, kind, y, weight), z, i, n)
        alpha, sigma = coefficients(i / n)
        error = (target - Call(student, kind, y, weight)(z, i / n)).square().mean()
        snr = (alpha / sigma) ** 2
        losses.append({"snr_truncated": max(snr, 1.0), "snr": snr}[WEIGHTS[kind]] * error)
    return torch.stack(losses).mean()


def watch(network: nn.Module) -> list[tuple[Tensor, ...]]:
    """(z_t, log_snr, labels, w) of every call from now on."""
    seen: list[tuple[Tensor, ...]] = []
    network.register_forward_hook(lambda module, given, out: seen.append(given))
    return seen


def teacher_of(algorithm: str, make_model: MakeModel, **info: Any) -> DiffusionModel:
    """One that the algorithm distils: for naive, two students that take w."""
    return make_model(STUDENT, 1, guidance="mixture" if algorithm == "naive" else "input", **info)


@pytest.mark.parametrize("n", [1, 2, 3, 16])
@pytest.mark.parametrize(
    ("algorithm", "kind"),
    # From t = 0, where an encoder starts, the network's x_hat says next to nothing of v.
    [("stochastic", "v"), ("stochastic", "x"), ("encoder", "v"), ("naive", "v"), ("naive", "x")],
)
def test_loss_is_the_papers_algorithm(
    algorithm: str, kind: str, n: int, make_model: MakeModel, make_job: MakeJob, digits: ImageSet
) -> None:
    teacher = teacher_of(algorithm, make_model, parameterization=kind)
    student = make_model(STUDENT, 2).network
    batch = make_batch(make_job(), digits, 16, 0, False)
    seen = watch(student)
    ratio = 1 if algorithm == "stochastic" else 2
    objective = ALGORITHMS[algorithm].objective(teacher, WEIGHTS[kind], (0.5, 4.0), n, ratio)
    loss = objective(student, batch)
    (call,) = seen
    doubled = algorithm == "naive"
    assert torch.equal(call[2][:16], batch.labels)
    assert call[2][16:].tolist() == [NULL] * 16 * doubled
    assert call[3].min() >= 0.5
    for part in (call[0], call[1], call[3]):  # the halves differ in their labels alone
        assert not doubled or torch.equal(part[:16], part[16:])
    first = SCHEDULE.time(call[1].double()).min()
    assert abs(first - (0.0 if algorithm == "encoder" else 1 / n)) < 1e-6
    expected = plain_loss(algorithm, teacher.network, student, call, n, kind)
    assert_close(loss.double(), expected, rtol=2e-3, atol=0)


def test_naive_students_of_a_teacher_that_takes_no_w(
    make_model: MakeModel, make_job: MakeJob, digits: ImageSet
) -> None:
    """The teacher's mixture at the drawn w; at w = 0 the first half is ordinary halving."""
    teacher, student = make_model(seed=1), make_model(STUDENT, 2).network
    seen = watch(student)

    def loss(algorithm: str, w: float) -> Tensor:
        objective = ALGORITHMS[algorithm].objective(teacher, "snr_truncated", (w, w), 4, 2)
        return objective(student, make_batch(make_job(), digits, 16, 0, False)).double()

    for w in (0.0, 2.0):
        seen.clear()
        found = loss("naive", w)
        (call,) = seen
        both = plain_loss("naive", teacher.network, student, call, 4, "v")
        assert_close(found, both, rtol=2e-3, atol=0)
        half = tuple(part[:16] for part in call)
        of_c = plain_loss("naive", teacher.network, student, half, 4, "v")
        if w == 0:
            assert_close(loss("halve", w), of_c, rtol=2e-3, atol=0)
        else:
            assert abs(loss("halve", w) / of_c - 1) > 0.01


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_work_is_what_the_networks_see_in_an_update(
    algorithm: str,
    n: int,
    make_model: MakeModel,
    make_job: MakeJob,
    tiny_params: Params,
    digits: ImageSet,
) -> None:
    teacher, student = teacher_of(algorithm, make_model), make_model(STUDENT, 2).network
    seen = watch(teacher.network), watch(student)
    for ratio in {"stochastic": [1], "naive": [2]}.get(algorithm, [2, 4]):
        rung = Rung(from_=str(ratio * n), updates=3, learning_rate=1e-3)
        assert ratio_of(rung, n) == ratio
        objective = ALGORITHMS[algorithm].objective(teacher, "snr", (0.0, 4.0), n, ratio)
        objective(student, make_batch(make_job(), digits, 5, 0, False))
        images = sum(len(z_t) for calls in seen for z_t, *_ in calls)
        work = halving_work(tiny_params.halve, rung, n, algorithm)
        assert images == 5 * work.forwards
        assert work.network_evaluations == work.forwards * 3 * tiny_params.halve.batch_size
        assert work.cost(1.0).network_evaluations == work.network_evaluations
        for calls in seen:
            calls.clear()
