"""Stage one against GD's Algorithm 1 written out, and with students that know the answer."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.data import ImageSet
from pdpipe.diffusion import Condition, CosineSchedule
from pdpipe.methods.guide import guide_objective
from pdpipe.methods.sizes import with_w
from pdpipe.models import DiffusionModel, Predictor, load_model, save_model
from pdpipe.networks import Network, UNet
from pdpipe.params import Params
from pdpipe.training.loop import make_batch

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
train_guide = HELPERS["train_guide"]

MakeUNet = Callable[..., UNet]
SCHEDULE = CosineSchedule()
STUDENT = {"w_frequencies": 4, "w_max": 4.0}


def flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """(z_t, log_snr, labels, w) of a network's arguments."""
    z_t, log_snr, given = args
    return z_t, log_snr, given.label, given.w


def watch(network: nn.Module) -> list[tuple[Tensor, ...]]:
    """(z_t, log_snr, labels, w) of every call from now on."""
    seen: list[tuple[Tensor, ...]] = []
    network.register_forward_hook(lambda module, args, out: seen.append(flat(args)))
    return seen


def as_x(out: Tensor, z: Tensor, alpha: float, sigma: float, kind: str) -> Tensor:
    return alpha * z - sigma * out if kind == "v" else out


def naive_loss(
    teacher: UNet, student: UNet, x: Tensor, call: tuple[Tensor, ...], kind: str, weight: str
) -> Tensor:
    """Algorithm 1, image by image: omega ||x_hat_w - x_hat_student||² at the drawn z_t and w."""
    losses = []
    for z_t, log_snr, label, w in zip(*call, strict=True):
        one, time = z_t[None], log_snr[None]
        alpha, sigma = (float(torch.sigmoid(k * log_snr.double()).sqrt()) for k in (1, -1))
        x_c, x_u = (
            as_x(
                teacher(one, time, Condition(torch.tensor([y]))).double(),
                one.double(),
                alpha,
                sigma,
                kind,
            )
            for y in (int(label), 10)
        )
        x_w = (1 + float(w)) * x_c - float(w) * x_u
        out = student(one, time, Condition(label[None], w[None])).double()
        error = (x_w - as_x(out, one.double(), alpha, sigma, kind)).square().mean()
        snr = (alpha / sigma) ** 2
        losses.append({"snr": snr, "snr_plus_one": 1 + snr}[weight] * error)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("kind", ["v", "x"])
@pytest.mark.parametrize("weight", ["snr", "snr_plus_one"])
def test_loss_is_algorithm_1(
    kind: str, weight: str, make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    teacher, student = make_unet(seed=1), make_unet(seed=2, **STUDENT)
    batch = make_batch(make_job(), digits, 48, 0, False)
    seen = watch(student)
    loss = guide_objective(
        Predictor(teacher, SCHEDULE, kind).as_teacher, SCHEDULE, kind, weight, (0.0, 4.0)
    )(student, batch)
    (call,) = seen
    assert torch.equal(call[2], batch.given.label)
    expected = naive_loss(teacher, student, batch.x, call, kind, weight)
    assert_close(loss.double(), expected, rtol=1e-3, atol=0)
    at_zero = (*call[:3], torch.zeros_like(call[3]))
    assert (
        naive_loss(teacher, student, batch.x, at_zero, kind, weight) / expected - 1
    ).abs() > 0.02


@pytest.mark.parametrize("w_range", [(0.0, 4.0), (1.0, 2.0), (0.3, 0.3)])
def test_w_is_uniform_in_its_range_and_independent_of_the_time(
    w_range: tuple[float, float], make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    teacher, student = make_unet(seed=1), make_unet(seed=2, **STUDENT)
    batch = make_batch(make_job(), digits, 2000, 0, False)
    seen = watch(student)
    guide_objective(Predictor(teacher, SCHEDULE, "v").as_teacher, SCHEDULE, "v", "snr", w_range)(
        student, batch
    )
    _, log_snr, _, w = seen[0]
    low, high = w_range
    assert w.min() >= low - 1e-6
    assert w.max() <= high + 1e-6
    if high > low:
        counts = torch.histc(w, 10, low, high)
        assert ((counts - 200) ** 2 / 200).sum() < 35
        order = torch.stack([log_snr.argsort().argsort().float(), w])
        assert abs(torch.corrcoef(order)[0, 1]) < 0.1


class LabelledGaussian(Network):
    """The best v_hat when class y is N(y/10, 0.4²) and "no label" is N(0.5, 0.9²)."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(num_classes=10))

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        z = z_t.double()
        alpha, sigma = (
            torch.sigmoid(k * log_snr.double()).sqrt().view(-1, 1, 1, 1) for k in (1, -1)
        )
        assert given.label is not None
        null = (given.label == 10).view(-1, 1, 1, 1)
        mean = torch.where(null, 0.5, given.label.view(-1, 1, 1, 1) / 10)
        std = torch.where(null, 0.9, 0.4)
        r = (z - alpha * mean) / (alpha**2 * std**2 + sigma**2)
        return (alpha * sigma * (1 - std**2) * r - sigma * mean).float()


class GuidedGaussian(LabelledGaussian):
    """The guided prediction in closed form: what stage one should learn."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, z_t: Tensor, log_snr: Tensor, given: Condition) -> Tensor:
        assert given.w is not None
        conditional = super().forward(z_t, log_snr, given)
        unconditional = super().forward(z_t, log_snr, self.null(given))
        s = self.sign * given.w.view(-1, 1, 1, 1)
        return (1 + s) * conditional - s * unconditional


def test_a_student_that_knows_the_answer_has_no_loss(make_job: MakeJob, digits: ImageSet) -> None:
    teacher: Any = LabelledGaussian()
    batches = [make_batch(make_job(), digits, 256, 0, False) for _ in range(3)]
    loss = guide_objective(
        Predictor(teacher, SCHEDULE, "v").as_teacher, SCHEDULE, "v", "snr_plus_one", (0.0, 4.0)
    )
    perfect, other_sign = (loss(GuidedGaussian(sign), batches.pop()) for sign in (1.0, -1.0))
    unguided = loss(GuidedGaussian(0.0), batches.pop())
    assert perfect < 1e-10
    assert other_sign > 1e-2
    assert unguided > 1e-2


@pytest.mark.parametrize("w", [0.0, 0.3, 1.0, 4.0])
def test_before_the_first_update_the_student_is_the_conditional_teacher(
    w: float, make_unet: MakeUNet
) -> None:
    torch.manual_seed(5)
    teacher = make_unet(dropout=0.3)
    student = with_w(teacher, 8, 4.0)
    assert student.config.dropout == 0.0
    assert all(p.requires_grad for p in student.parameters())
    labels = torch.arange(10)
    z_t = torch.randn(10, 1, 8, 8)
    for time in (1 / 64, 0.5, 1.0):
        t = torch.tensor(time, dtype=torch.float64)
        expected = Predictor(teacher, SCHEDULE, "v").denoiser(Condition(labels))(z_t, t)
        given = Condition(labels, torch.full((10,), w))
        found = Predictor(student, SCHEDULE, "v").denoiser(given)(z_t, t)
        assert torch.equal(found, expected)


@pytest.fixture
def teacher(tmp_path: Path, make_model: Callable[..., DiffusionModel]) -> DiffusionModel:
    """A teacher as the stage gets it: from its file; trained with dropout."""
    model = make_model({"dropout": 0.4})
    save_model(tmp_path / "teacher.safetensors", model.network, model.info)
    return load_model(tmp_path / "teacher.safetensors", device="cpu")


def test_stage_starts_from_the_teacher(
    teacher: DiffusionModel, make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    """With a rate of 1e-30 nothing is learned: the result is the conditional teacher, at any w."""
    guide = tiny_params.guide.model_copy(update={"learning_rate": 1e-30, "updates": 12})
    network, *_ = train_guide(make_job("student-4"), digits, teacher, guide, {})
    z_t, labels, log_snr = torch.randn(10, 1, 8, 8), torch.arange(10), torch.linspace(-9, 9, 10)
    expected = teacher.network(z_t, log_snr, Condition(labels))
    for w in (0.0, 4.0):
        found = network(z_t, log_snr, Condition(labels, torch.full((10,), w)))
        assert_close(found, expected, rtol=0, atol=1e-6)


def test_teacher_is_frozen_and_in_evaluation_mode_throughout(
    teacher: DiffusionModel, make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.network.state_dict().items()}
    calls: list[tuple[bool, bool, int]] = []
    teacher.network.register_forward_hook(
        lambda module, args, out: calls.append(
            (any(m.training for m in module.modules()), out.requires_grad, len(out))
        )
    )
    train_guide(make_job("student-4"), digits, teacher, tiny_params.guide, {})
    assert calls == [(False, False, 16)] * 30, "one doubled batch of 8 an update"
    for name, tensor in teacher.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_stage_learns_and_tells_what_it_made(
    teacher: DiffusionModel, make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    job, guide = make_job("student-4"), tiny_params.guide.model_copy(update={"updates": 150})
    network, info, cost = train_guide(job, digits, teacher, guide, {"seed": 3})
    losses = [m["loss"] for _, m in job.tracker.points]  # type: ignore[attr-defined]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert (info.kind, info.name, info.steps) == ("student", "student-4", 4)
    assert (info.w_min, info.w_max, info.parameterization) == (0.0, 4.0, "v")
    assert info.network == vars(network.config)
    assert (info.network["w_frequencies"], info.network["w_max"]) == (32, 4.0)
    assert info.network["dropout"] == 0.0
    assert (info.classes, info.provenance) == (teacher.info.classes, {"seed": 3})
    assert cost.network_evaluations == 3 * 150 * 8
    model = DiffusionModel(network, info, torch.device("cpu"), "")
    assert model.sample([1, 2], w=2.0).isfinite().all()


def test_unconditional_teacher_is_copied_with_two_evaluations(
    make_model: Callable[..., DiffusionModel],
    make_job: MakeJob,
    tiny_params: Params,
    digits: ImageSet,
) -> None:
    teacher = make_model({"num_classes": 0}, w_max=0.0)
    guide = tiny_params.guide.model_copy(update={"w_max": 0.0, "updates": 5})
    _, info, cost = train_guide(make_job("student-4"), digits, teacher, guide, {})
    assert cost.network_evaluations == 2 * 5 * 8
    assert (info.w_min, info.w_max) == (0.0, 0.0)
