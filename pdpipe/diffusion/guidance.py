"""Classifier-free guidance."""

from __future__ import annotations

from torch import Tensor


def guided(conditional: Tensor, unconditional: Tensor, w: Tensor | float) -> Tensor:
    """`(1 + w) conditional - w unconditional`: the guided prediction; w = 0 is no guidance.

    The same formula holds for x_hat, eps_hat and v_hat, since all are affine in x_hat at fixed
    z_t. Computed as `conditional + w (conditional - unconditional)`, exact at w = 0.

    Args:
        conditional: prediction with the label, (B, C, H, W).
        unconditional: prediction with the null label, same shape.
        w: a number, or a tensor that broadcasts, (B, 1, 1, 1).

    Source: CFG, equation 6, in the convention of GD, section 2.
    """
    return conditional + w * (conditional - unconditional)
