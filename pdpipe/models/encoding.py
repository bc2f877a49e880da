"""From images to noise: DDIM backwards, with a distilled encoder or with a decoder reversed."""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.diffusion import encode, uniform_grid
from pdpipe.errors import ModelError
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
    if tuple(x.shape[1:]) != model.info.image_shape:
        raise ModelError(
            f"{model.info.name} takes images of shape {model.info.image_shape} (channels, height, "
            f"width), not {tuple(x.shape[1:])}: give it such"
        )
    if model.info.sampler == "stochastic":
        raise ModelError(
            f"{model.info.name} was distilled for the stochastic sampler, which cannot be run "
            "backwards: give an encoder, the teacher, or a student that decodes by DDIM"
        )
    if len(x) != len(labels):
        raise ModelError(f"there are {len(x)} images and {len(labels)} labels: give one for each")
    if batch_size < 1:
        raise ModelError(f"the batch size is {batch_size}: use 1 or more")
    chosen, grid = model.check_labels(labels), uniform_grid(model.resolve_steps(steps))
    parts = []
    for some, theirs in zip(
        torch.split(x, batch_size), torch.split(chosen, batch_size), strict=True
    ):
        with model.autocast():
            denoiser = model.denoiser(theirs, w)
            for state in encode(denoiser, some.to(model.device), grid, model.schedule):
                z_1 = state.z
        parts.append(z_1.float().cpu())
    return torch.cat(parts)
