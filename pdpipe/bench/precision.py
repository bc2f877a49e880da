"""What bfloat16 does to a model: its noise, beside what a student of N steps has to learn."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pdpipe.data import ImageSet, to_unit
from pdpipe.diffusion import Condition, diffuse, multi_step_target
from pdpipe.models import DiffusionModel
from pdpipe.networks import Network
from pdpipe.seeds import derive_seed

IMAGES = 500


@dataclass(frozen=True, kw_only=True)
class RungNoise:
    """Of a halving to N steps: root mean squares over pixels, images and times, but for `worst`."""

    steps: int  # N
    signal: float  # v_target - v_hat of the teacher: what its student has to learn
    float32: float  # error of v_target as float32 is computed on this device
    bfloat16: float  # error of v_target under autocast
    worst: float  # the largest error of v_hat under autocast

    def __str__(self) -> str:
        return (
            f"N = {self.steps}: to learn {self.signal:.1e}, noise {self.bfloat16:.1e} "
            f"({self.bfloat16 / self.signal:.0%}) in bfloat16, {self.float32:.1e} in float32; "
            f"v_hat off by up to {self.worst:.1e} in bfloat16"
        )


@torch.no_grad()
def rung_noise(
    model: DiffusionModel, images: ImageSet, steps: Iterable[int]
) -> Iterator[RungNoise]:
    """The signal and the noise of a halving to each N, with the model as the teacher.

    Errors are against float32 on the CPU. Times are those of the student's grid, evenly; a model
    that takes w is given weights between its ends, a teacher is not guided.

    Args:
        model: a teacher or a student.
        images: held-out images.
        steps: N of each.
    """
    exact, cpu = copy.deepcopy(model.network).cpu(), torch.device("cpu")
    count = min(IMAGES, len(images))
    generator = torch.Generator().manual_seed(derive_seed(0, "precision"))
    x = to_unit(images.images[:count])
    eps = torch.randn(x.shape, generator=generator)
    low, high = model.info.w_min, model.info.w_max or 0.0
    w = low + (high - low) * torch.rand(count, generator=generator)
    given = Condition(label=images.labels[:count], w=w)
    place = torch.randperm(count, generator=generator).view(-1, 1, 1, 1)

    def predicted(network: Network, device: torch.device, n: int) -> tuple[Tensor, Tensor]:
        """(v_hat, v_target) of the network as the teacher."""
        i = (1 + place * n // count).double()
        z_t = diffuse(x, eps, *model.schedule.alpha_sigma(i / n)).to(device)
        denoise = model.predictor.of(network).denoiser(given.to(device))
        v_target = multi_step_target(denoise, z_t, i, n, model.schedule)
        return denoise(z_t, i / n).cpu(), v_target.cpu()

    for n in steps:
        v_hat, v_target = predicted(exact, cpu, n)
        _, in_float32 = predicted(model.network, model.device, n)
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            rounded, in_bfloat16 = predicted(model.network, model.device, n)
        yield RungNoise(
            steps=n,
            signal=rms(v_target - v_hat),
            float32=rms(in_float32 - v_target),
            bfloat16=rms(in_bfloat16 - v_target),
            worst=float((rounded - v_hat).abs().max()),
        )


def image_noise(model: DiffusionModel) -> tuple[int, float, float]:
    """(steps, error, largest error) of images made in bfloat16 instead of float32, clipped.

    The steps are the model's own, 64 of a teacher; the error is a root mean square, in grey levels
    of 1/255. Two images of each class, at the largest w up to 1.
    """
    steps = model.resolve_steps(None)
    highest = 1.0 if model.network.conditional else 0.0
    w = highest if model.info.w_max is None else min(highest, model.info.w_max)
    made = []
    for context in (nullcontext, partial(torch.autocast, model.device.type, torch.bfloat16)):
        model.autocast = context
        made.append(model.sample([*range(len(model.info.classes))] * 2, w=w, steps=steps))
    error = (made[1] - made[0]) * 255 / 2
    return steps, rms(error), float(error.abs().max())


def rms(error: Tensor) -> float:
    """The root of the mean square."""
    return float(error.square().mean().sqrt())
