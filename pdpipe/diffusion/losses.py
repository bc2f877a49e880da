"""Loss weights omega(log_snr) on the squared error of x (PD, section 4 and figure 2).

An error of v by D is an error of x by sigma_t D. Each weight is given on the error of v, where all
are at most 1; on that of x they would reach exp(20). (A network that predicts x, or eps,
has its output divided by sigma, or alpha, on the way to v; give it the weight `constant`, or `snr`,
which takes that back.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import scale
from pdpipe.errors import ModelError, did_you_mean

# name: weight on ||v - v_hat||², from (alpha_t, sigma_t); in brackets the weight on ||x - x_hat||²
LOSS_WEIGHTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "constant": lambda alpha, sigma: sigma**2,  # (1): the MSE in x
    "snr": lambda alpha, sigma: alpha**2,  # (alpha²/sigma²): the MSE in eps
    "snr_truncated": lambda alpha, sigma: torch.maximum(alpha, sigma) ** 2,  # (max(SNR, 1))
    "snr_plus_one": lambda alpha, sigma: torch.ones_like(alpha),  # (SNR + 1): the MSE in v
}
"""Every loss weight by its name, from (alpha_t, sigma_t) to the weight on the error of v."""


def v_loss_weight(name: str, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The weight on the squared v error at times with these coefficients; in (0, 1], float64.

    Args:
        name: a key of `LOSS_WEIGHTS`.
        alpha, sigma: float64 coefficients of the times, any shape.

    Raises:
        ModelError: an unknown name.

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, v_loss_weight
        >>> alpha, sigma = CosineSchedule().alpha_sigma(torch.tensor([0.0, 0.5, 1.0]))
        >>> v_loss_weight("snr_truncated", alpha, sigma)
        tensor([1.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    if name not in LOSS_WEIGHTS:
        raise ModelError(f"there is no loss weight {name!r}: {did_you_mean(name, LOSS_WEIGHTS)}")
    return LOSS_WEIGHTS[name](alpha, sigma)


def weighted_loss(v_hat: Tensor, v_target: Tensor, weight: Tensor) -> Tensor:
    """The scalar loss: squared errors averaged over the pixels, weighted, averaged over the batch.

    Args:
        v_hat, v_target: (B, C, H, W).
        weight: per sample, (B, 1, 1, 1).

    Examples:
        >>> from pdpipe.diffusion import weighted_loss
        >>> v_hat, v = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
        >>> weighted_loss(v_hat, v, torch.tensor([1.0, 0.5]).view(2, 1, 1, 1))
        tensor(0.7500)
    """
    squared = (v_hat.float() - v_target.float()).square().mean(dim=(1, 2, 3))
    return (scale(weight, squared).reshape(-1) * squared).mean()
