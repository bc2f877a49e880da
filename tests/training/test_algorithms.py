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
from pdpipe.diffusion import Condition, CosineSchedule
from pdpipe.methods import METHODS, method_of
from pdpipe.methods.halve import halving_objective
from pdpipe.methods.method import Task
from pdpipe.methods.naive import naive_objective
from pdpipe.methods.tract import TractObjective
from pdpipe.models import DiffusionModel
from pdpipe.networks import UNet
from pdpipe.params import Params
from pdpipe.training.loop import make_batch

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
        given = Condition(torch.tensor([self.label]), torch.tensor([self.w]))
        out = self.network(z.float(), log_snr, given).double()
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


def flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """(z_t, log_snr, labels, w) of a network's arguments."""
    z_t, log_snr, given = args
    return z_t, log_snr, given.label, given.w


def watch(network: nn.Module) -> list[tuple[Tensor, ...]]:
    """(z_t, log_snr, labels, w) of every call from now on."""
    seen: list[tuple[Tensor, ...]] = []
    network.register_forward_hook(lambda module, args, out: seen.append(flat(args)))
    return seen


def teacher_of(algorithm: str, make_model: MakeModel, **info: Any) -> DiffusionModel:
    """One that the method distils: for naive, two students that take w."""
    if algorithm == "guide":
        return make_model(seed=1, **info)
    return make_model(STUDENT, 1, guidance="mixture" if algorithm == "naive" else "input", **info)


def task_of(params: Params, loss_weight: str, n: int, ratio: int) -> Task:
    return Task(
        steps=n,
        teacher_steps=ratio * n,
        updates=3,
        learning_rate=1e-3,
        guide=params.guide,
        halve=params.halve.model_copy(update={"loss_weight": loss_weight}),
    )


@pytest.mark.parametrize("n", [1, 2, 3, 16])
@pytest.mark.parametrize(
    ("algorithm", "kind"),
    # From t = 0, where an encoder starts, the network's x_hat says next to nothing of v.
    [("stochastic", "v"), ("stochastic", "x"), ("encoder", "v"), ("naive", "v"), ("naive", "x")],
)
def test_loss_is_the_papers_algorithm(
    algorithm: str,
    kind: str,
    n: int,
    make_model: MakeModel,
    make_job: MakeJob,
    tiny_params: Params,
    digits: ImageSet,
) -> None:
    teacher = teacher_of(algorithm, make_model, parameterization=kind, w_min=0.5)
    student = make_model(STUDENT, 2).network
    batch = make_batch(make_job(), digits, 16, 0, False)
    seen = watch(student)
    ratio = 1 if algorithm == "stochastic" else 2
    task = task_of(tiny_params, WEIGHTS[kind], n, ratio)
    loss = method_of(algorithm).objective(teacher, student, task)(student, batch)
    (call,) = seen
    doubled = algorithm == "naive"
    assert torch.equal(call[2][:16], batch.given.label)
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
        weight, at = "snr_truncated", (w, w)
        halving = halving_objective(
            teacher.predictor.denoiser, teacher.schedule, "v", weight, at, 4, 2
        )
        naive = naive_objective(teacher, weight, at, 4)
        objective = naive if algorithm == "naive" else halving
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
@pytest.mark.parametrize("algorithm", METHODS)
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
    method = method_of(algorithm)
    for ratio in {"guide": [1], "stochastic": [1], "naive": [2]}.get(algorithm, [2, 4]):
        task = task_of(tiny_params, "snr", n, ratio)
        objective = method.objective(teacher, student, task)
        objective(student, make_batch(make_job(), digits, 5, 0, False))
        images = sum(len(z_t) for calls in seen for z_t, *_ in calls)
        work = method.work(task, conditional=teacher.network.conditional)
        assert images == 5 * work.forwards
        assert work.network_evaluations == work.forwards * 3 * tiny_params.halve.batch_size
        for calls in seen:
            calls.clear()


@pytest.mark.parametrize("kind", ["v", "x"])
@pytest.mark.parametrize(("n", "ratio"), [(1, 2), (1, 8), (4, 3)])
def test_loss_is_tracts(
    n: int,
    ratio: int,
    kind: str,
    make_model: MakeModel,
    make_job: MakeJob,
    tiny_params: Params,
    digits: ImageSet,
) -> None:
    """Berthelot et al. 2023: a step of the teacher, and to the interval's end by the average."""
    teacher = make_model(STUDENT, 1, guidance="input", parameterization=kind)
    student, average = make_model(STUDENT, 2).network, make_model(STUDENT, 3).network
    task = task_of(tiny_params, WEIGHTS[kind], n, ratio)
    objective = TractObjective(teacher, student, task)
    objective.load_state_dict(average.state_dict())
    seen = watch(student)
    loss = objective(student, make_batch(make_job(), digits, 24, 0, False))
    (call,) = seen
    losses, places = [], set()
    for z_t, log_snr, label, w in zip(*call, strict=True):
        z, y, weight = z_t[None].double(), int(label), float(w)
        place = round(float(SCHEDULE.time(log_snr.double())) * n * ratio)  # in steps of the teacher
        t, s = place / (n * ratio), (place - 1) / (n * ratio)
        end = (place - 1) // ratio / n
        places.add((place - 1) % ratio)
        z_s = step(Call(teacher.network, kind, y, weight)(z, t), z, t, s)
        at_end = s == pytest.approx(end)
        z_end = z_s if at_end else step(Call(average, kind, y, weight)(z_s, s), z_s, s, end)
        target = solved(z_end, z, t, end)
        alpha, sigma = coefficients(t)
        error = (target - Call(student, kind, y, weight)(z, t)).square().mean()
        snr = (alpha / sigma) ** 2
        losses.append({"snr_truncated": max(snr, 1.0), "snr": snr}[WEIGHTS[kind]] * error)
    assert places == set(range(ratio))
    assert_close(loss.double(), torch.stack(losses).mean(), rtol=2e-3, atol=0)


def test_tracts_average_follows_the_student(make_model: MakeModel, tiny_params: Params) -> None:
    teacher, student = make_model(STUDENT, 1, guidance="input"), make_model(STUDENT, 2).network
    objective = TractObjective(teacher, student, task_of(tiny_params, "snr", 1, 4))
    before = student.conv_in.weight.clone()
    assert torch.equal(objective.average.state_dict()["conv_in.weight"], before)
    torch.nn.init.zeros_(student.conv_in.weight)
    for _ in range(2):
        objective.after_update(student)
    assert_close(objective.average.state_dict()["conv_in.weight"], before / 4)
    assert not any(p.requires_grad for p in objective.average.parameters())
