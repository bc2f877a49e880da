"""From images to noise and back: DDIM in both directions, from states that are given."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdpipe.diffusion import DDIM, encode, uniform_grid
from pdpipe.errors import ModelError, counted
from pdpipe.models.model import DiffusionModel


@torch.inference_mode()
def encode_images(
    model: DiffusionModel,
    x: Tensor,
    labels: Tensor,
    *,
    w: float = 0.0,
    steps: int | None = None,
    batch_size: int = 256,
) -> Tensor:
    """z_1 of images, by reversed DDIM steps: (n, C, H, W), float32, on the CPU.

    The teacher, and a student of many steps, can be run backwards; an encoder is distilled for it.

    Args:
        model: an encoder, or a model that decodes by DDIM.
        x: images in [-1, 1], taken as z_0, (n, C, H, W).
        labels: their classes, (n,); zeros for an unconditional model.
        w: guidance weight, 0 as a rule.
        steps: by default the model's own count, 64 for a teacher.
        batch_size: images that the network sees at a time.

    Raises:
        ModelError: images of another shape, a model that cannot be run backwards, or a label, w,
            step count or batch size that cannot be used.

    Source: DDIM, section 5.4; GD, Algorithm 4 and section 5.3.
    """
    if model.info.sampler == "stochastic":
        raise ModelError(
            f"{model.info.name} was distilled for the stochastic sampler, which cannot be run "
            "backwards: give an encoder, the teacher, or a student that decodes by DDIM"
        )
    grid = uniform_grid(model.resolve_steps(steps))

    def to_noise(some: Tensor, theirs: Tensor) -> Tensor:
        for state in encode(model.denoiser(theirs, w), some, grid, model.schedule):
            z_1 = state.z
        return z_1

    return _in_batches(model, x, labels, batch_size, to_noise)


@torch.inference_mode()
def decode_noise(
    model: DiffusionModel,
    z_1: Tensor,
    labels: Tensor,
    *,
    w: float = 0.0,
    steps: int | None = None,
    clip: bool = True,
    batch_size: int = 256,
) -> Tensor:
    """Images x of noise that is given, by DDIM: (n, C, H, W), float32, on the CPU.

    Args:
        model: the teacher, or a student.
        z_1: the noise, as `encode_images` makes it, (n, C, H, W).
        labels, w, batch_size: as for `encode_images`; other ones than there transfer the style.
        steps: by default the model's own count, 64 for a teacher.
        clip: clip x_hat to [-1, 1] at every step.

    Raises:
        ModelError: an encoder, noise of another shape, or a label, w or step count that cannot be
            used.
    """
    if model.info.kind == "encoder":
        raise ModelError(
            f"{model.info.name} is an encoder, which leads from images to noise: decode with the "
            "teacher or a student"
        )
    sampler, grid = DDIM(model.schedule, clip=clip), uniform_grid(model.resolve_steps(steps))

    def to_images(some: Tensor, theirs: Tensor) -> Tensor:
        return sampler.sample(model.denoiser(theirs, w), some, grid)

    return _in_batches(model, z_1, labels, batch_size, to_images)


def _in_batches(
    model: DiffusionModel,
    z: Tensor,
    labels: Tensor,
    batch_size: int,
    make: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """`make` of the states z and their labels, on the model's device in its precision."""
    if tuple(z.shape[1:]) != model.info.image_shape:
        raise ModelError(
            f"{model.info.name} takes images of shape {model.info.image_shape} (channels, height, "
            f"width), not {tuple(z.shape[1:])}: give it such"
        )
    if len(z) != len(labels):
        raise ModelError(
            f"there are {counted(len(z), 'image')} and {counted(len(labels), 'label')}: give one "
            "for each"
        )
    if batch_size < 1:
        raise ModelError(f"the batch size is {batch_size}: use 1 or more")
    chosen, parts = model.check_labels(labels), []
    pieces = zip(torch.split(z, batch_size), torch.split(chosen, batch_size), strict=True)
    for some, theirs in pieces:
        with model.autocast():
            parts.append(make(some.to(model.device), theirs).float().cpu())
    return torch.cat(parts)
