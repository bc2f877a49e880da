"""One step along the process: noising, and deterministic DDIM in the angle."""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import scale, x_from_v


def diffuse(x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`z_t = alpha x + sigma eps`, a sample of q(z_t | x)."""
    return scale(alpha, x) * x + scale(sigma, x) * eps


def ddim_step(v_hat: Tensor, z_t: Tensor, phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """z_s, by one deterministic DDIM step from the angle phi_t to phi_s.

    `z_s = cos(d) z_t - sin(d) v_hat` with `d = phi_t - phi_s`, which equals
    `alpha_s x_hat + sigma_s eps_hat` but divides by nothing, so it is well conditioned at both
    ends and in both directions (d < 0 encodes).

    Args:
        v_hat: the prediction at z_t, (B, C, H, W).
        z_t: the noisy images, (B, C, H, W).
        phi_t, phi_s: angles in [0, pi/2], float64, that broadcast against z_t.

    Source: PD, appendix D (DDIM in the angle).
    """
    d = phi_t - phi_s
    return scale(d.cos(), z_t) * z_t - scale(d.sin(), z_t) * v_hat


def clipped_ddim_step(v_hat: Tensor, z_t: Tensor, phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """z_s as `ddim_step`, with x_hat clipped to [-1, 1] and eps_hat recomputed from it.

    `z_s = (sigma_s z_t + sin(d) x_clipped) / sigma_t`: DDIM with
    `eps_hat = (z_t - alpha_t x_clipped) / sigma_t`, without its cancellation. Needs phi_t > 0.
    """
    x_clipped = x_from_v(v_hat, z_t, phi_t.cos(), phi_t.sin()).clamp(-1.0, 1.0)
    sigma_t = torch.sin(phi_t)
    keep, add = torch.sin(phi_s) / sigma_t, torch.sin(phi_t - phi_s) / sigma_t
    return scale(keep, z_t) * z_t + scale(add, z_t) * x_clipped
