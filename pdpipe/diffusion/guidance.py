"""Classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdpipe.diffusion.samplers.base import Denoiser


def guided(conditional: Tensor, unconditional: Tensor, w: Tensor | float) -> Tensor:
    """`(1 + w) conditional - w unconditional`: the guided prediction; w = 0 is no guidance.

    The same formula holds for x_hat, eps_hat and v_hat, since all are affine in x_hat at fixed
    z_t. Computed as `conditional + w (conditional - unconditional)`, exact at w = 0.

    Args:
        conditional: prediction with the label, (B, C, H, W).
        unconditional: prediction with the null label, same shape.
        w: a number, or a tensor that broadcasts, (B, 1, 1, 1).

    Source: CFG, equation 6, in the convention of GD, section 2.

    Examples:
        >>> from pdpipe.diffusion import guided
        >>> guided(torch.tensor(1.0), torch.tensor(0.5), w=2.0)
        tensor(2.)
    """
    return conditional + w * (conditional - unconditional)


@dataclass(frozen=True)
class GuidedDenoiser:
    """(z_t, t) -> guided v_hat: both predictions in one batch of 2B, two evaluations an image.

    Source: CFG, section 3.2.

    Examples:
        >>> from pdpipe.diffusion import GuidedDenoiser
        >>> of_both = torch.tensor([1.0, 1.0, 0.5, 0.5]).view(4, 1, 1, 1)
        >>> both = lambda z_t, t: z_t * of_both
        >>> denoise = GuidedDenoiser(both, w=torch.tensor([0.0, 2.0]))
        >>> denoise(torch.ones(2, 1, 1, 1), torch.tensor(0.5)).flatten()
        tensor([1., 2.])
    """

    both: Denoiser  # of a batch of 2B: the first half with labels, the second with the null label
    w: Tensor  # guidance weights, (B,)
    evaluations_per_call: int = 2

    def __call__(self, z_t: Tensor, t: Tensor) -> Tensor:
        """The guided v_hat, shaped like z_t (B, C, H, W)."""
        t_both = t if t.dim() == 0 else torch.cat([t, t])
        conditional, unconditional = self.both(torch.cat([z_t, z_t]), t_both).chunk(2)
        return guided(conditional, unconditional, self.w.view(-1, 1, 1, 1).to(z_t.dtype))
