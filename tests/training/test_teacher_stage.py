"""The teacher's objective, and its stage on the digits."""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.data import ImageSet
from pdpipe.diffusion import CosineSchedule
from pdpipe.methods.teacher import teacher_objective
from pdpipe.networks import UNet
from pdpipe.params import Params
from pdpipe.plan import Batch
from pdpipe.training.loop import make_batch

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
train_teacher = HELPERS["train_teacher"]

MakeUNet = Callable[..., UNet]
SCHEDULE = CosineSchedule()


def flat(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """(z_t, log_snr, labels, w) of a network's arguments."""
    z_t, log_snr, given = args
    return z_t, log_snr, given.label, given.w


def watch(network: UNet) -> list[tuple[tuple[Tensor, ...], Tensor]]:
    """((z_t, log_snr, labels, w), output) of every call from now on."""
    seen: list[Any] = []
    network.register_forward_hook(lambda module, args, out: seen.append((flat(args), out)))
    return seen


def batch_of(job: Any, digits: ImageSet, size: int = 64, step: int = 0) -> Batch:
    return make_batch(job, digits, size, step, False)


OMEGA: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "snr": torch.exp,
    "snr_truncated": lambda log_snr: log_snr.exp().clamp(min=1),
    "snr_plus_one": lambda log_snr: 1 + log_snr.exp(),
}


@pytest.mark.parametrize("loss_weight", OMEGA)
@pytest.mark.parametrize("kind", ["v", "x", "eps"])
def test_loss_is_the_weighted_error_of_x(
    kind: str, loss_weight: str, make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    """omega(log_snr) ||x - x_hat||², x_hat from the network's output by the table of PD."""
    network, batch = make_unet(), batch_of(make_job(), digits)
    seen = watch(network)
    loss = teacher_objective(SCHEDULE, kind, loss_weight, 0.1)(network, batch)
    ((z_t, log_snr, _, _), out), log_snr = seen[0], seen[0][0][1].double()
    alpha, sigma = (torch.sigmoid(sign * log_snr).sqrt().view(-1, 1, 1, 1) for sign in (1, -1))
    z_t, out = z_t.double(), out.double()
    x_hat = {"v": alpha * z_t - sigma * out, "x": out, "eps": (z_t - sigma * out) / alpha}[kind]
    errors = (batch.x - x_hat).square().mean(dim=(1, 2, 3))
    expected = (OMEGA[loss_weight](log_snr) * errors).mean()
    assert_close(loss.double(), expected, rtol=1e-3, atol=0)


def test_network_sees_data_noised_to_a_uniform_time(
    make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    network, batch = make_unet(), batch_of(make_job(), digits, 2000)
    seen = watch(network)
    teacher_objective(SCHEDULE, "v", "snr_plus_one", 0.0)(network, batch)
    (z_t, log_snr, _, w), _ = seen[0]
    assert w is None
    low, high = (torch.atan(torch.exp(torch.tensor(k, dtype=torch.float64))) for k in (-10, 10))
    t = (torch.atan(torch.exp(-log_snr.double() / 2)) - low) / (high - low)
    counts = torch.histc(t, 10, 0, 1)
    assert ((counts - 200) ** 2 / 200).sum() < 35
    alpha, sigma = (c.view(-1, 1, 1, 1) for c in SCHEDULE.alpha_sigma(t))
    eps = ((z_t - alpha * batch.x) / sigma)[t > 0.05]
    assert abs(eps.mean()) < 0.02
    assert abs(eps.var() - 1) < 0.02


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.9])
def test_labels_are_dropped_with_their_probability(
    dropout: float, make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    network, batch = make_unet(), batch_of(make_job(), digits, 2000)
    seen = watch(network)
    teacher_objective(SCHEDULE, "v", "snr_plus_one", dropout)(network, batch)
    labels = seen[0][0][2]
    dropped = labels == network.null_label
    assert (
        abs(dropped.double().mean() - dropout) < 5 * (dropout * (1 - dropout) / 2000) ** 0.5 + 1e-9
    )
    assert torch.equal(labels[~dropped], batch.given.label[~dropped])


def test_dropped_labels_are_not_those_of_certain_times(
    make_unet: MakeUNet, make_job: MakeJob, digits: ImageSet
) -> None:
    network, batch = make_unet(), batch_of(make_job(), digits, 2000)
    seen = watch(network)
    teacher_objective(SCHEDULE, "v", "snr_plus_one", 0.5)(network, batch)
    _, log_snr, labels, _ = seen[0][0]
    early, late = (labels[mask] == 10 for mask in (log_snr > 0, log_snr <= 0))
    assert abs(early.double().mean() - late.double().mean()) < 0.12


def test_stage_learns_and_tells_what_it_made(
    make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    job, teacher = make_job("teacher"), tiny_params.teacher.model_copy(update={"updates": 120})
    network, info, cost = train_teacher(
        job, digits, teacher, tiny_params.network, tiny_params.schedule, {"seed": 0}
    )
    losses = [m["loss"] for _, m in job.tracker.points]  # type: ignore[attr-defined]
    assert losses[0] == pytest.approx(1.0, abs=0.25), "an untrained network outputs 0, v has size 1"
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0]
    assert (info.kind, info.name, info.steps, info.parameterization) == (
        "teacher",
        "teacher",
        None,
        "v",
    )
    assert (info.w_min, info.w_max, info.classes) == (0.0, None, [str(k) for k in range(10)])
    assert info.network == vars(network.config)
    assert info.schedule == tiny_params.schedule.model_dump()
    assert info.provenance == {"seed": 0}
    assert (cost.updates, cost.network_evaluations, cost.images_seen) == (120, 960, 960)


def test_another_seed_is_another_teacher(
    make_job: MakeJob, tiny_params: Params, digits: ImageSet
) -> None:
    runs = itertools.count()

    def first_weights(seed: int) -> Tensor:
        job = make_job("teacher", seed=seed, key=str(next(runs)))
        teacher = tiny_params.teacher.model_copy(update={"updates": 1})
        network, *_ = train_teacher(
            job, digits, teacher, tiny_params.network, tiny_params.schedule, {}
        )
        return network.conv_in.weight

    assert torch.equal(first_weights(0), first_weights(0))
    assert not torch.equal(first_weights(0), first_weights(1))


def test_unconditional_teacher(make_job: MakeJob, tiny_params: Params, digits: ImageSet) -> None:
    plain = tiny_params.network.model_copy(update={"conditional": False})
    network, info, _ = train_teacher(
        make_job("teacher"), digits, tiny_params.teacher, plain, tiny_params.schedule, {}
    )
    assert network.embed_label is None
    assert info.w_max == 0.0
