"""One step along the process: noising, DDIM in the angle, and the posterior of DDPM.

Angles and coefficients are float64 and broadcast against the images; t > s.

A short step keeps nearly all of z_t: its coefficient is just below 1, where float32 has seven
digits of the coefficient, but few of how far it is from 1. Multiplied with the images at each of
thousands of steps, that rounding adds up. So a short step is computed as z_t and its change, whose
coefficients are small numbers with all their digits.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import scale, x_from_v


def mixed(keep: Tensor, z: Tensor, add: Tensor, other: Tensor) -> Tensor:
    """`keep z + add other`, as `z + ((keep - 1) z + add other)` where keep rounds to 1.

    Args:
        keep, add: float64 coefficients that broadcast against the images; keep in [0, 1].
        z, other: images, (B, C, H, W).
    """
    whole = keep.round()
    return scale(whole, z) * z + (scale(keep - whole, z) * z + scale(add, z) * other)


def diffuse(x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`z_t = alpha x + sigma eps`, a sample of q(z_t | x), shaped like x (B, C, H, W).

    Args:
        x, eps: images and standard normal noise, (B, C, H, W).
        alpha, sigma: float64 coefficients, () or (B, 1, 1, 1).

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, diffuse
        >>> x, t = torch.ones(2, 1, 8, 8), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
        >>> diffuse(x, torch.zeros_like(x), *CosineSchedule().alpha_sigma(t)).mean(dim=(1, 2, 3))
        tensor([1.0000e+00, 4.5400e-05])
    """
    return scale(alpha, x) * x + scale(sigma, x) * eps


def ddim_step(v_hat: Tensor, z_t: Tensor, phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """z_s, by one deterministic DDIM step from the angle phi_t to phi_s.

    `z_s = cos(d) z_t - sin(d) v_hat` with `d = phi_t - phi_s`, which equals
    `alpha_s x_hat + sigma_s eps_hat` but divides by nothing, so it is well conditioned at both
    ends and in both directions (d < 0 encodes). Computed as
    `z_t - (2 sin²(d/2) z_t + sin(d) v_hat)`.

    Args:
        v_hat: the prediction at z_t, (B, C, H, W).
        z_t: the noisy images, (B, C, H, W).
        phi_t, phi_s: angles in [0, pi/2], float64, that broadcast against z_t.

    Source: PD, appendix D (DDIM in the angle).

    Examples:
        >>> from pdpipe.diffusion import CosineSchedule, ddim_step
        >>> phi = CosineSchedule().angle
        >>> t, s = torch.tensor(0.5), torch.tensor(0.25)
        >>> z_t, v_hat = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> z_s = ddim_step(v_hat, z_t, phi(t), phi(s))
        >>> z_s.shape
        torch.Size([2, 1, 8, 8])
    """
    d = phi_t - phi_s
    lost = 2.0 * (d / 2.0).sin() ** 2
    return z_t - (scale(lost, z_t) * z_t + scale(d.sin(), z_t) * v_hat)


def step_from_x(x_hat: Tensor, z_t: Tensor, phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """z_s by a deterministic DDIM step whose x_hat is given, phi_t > 0.

    `z_s = (sigma_s z_t + sin(d) x_hat) / sigma_t`: `alpha_s x_hat + sigma_s eps_hat` with
    `eps_hat = (z_t - alpha_t x_hat) / sigma_t`, without its cancellation.

    Args:
        x_hat, z_t: the prediction of x, and the noisy images, (B, C, H, W).
        phi_t, phi_s: angles in [0, pi/2], float64, () or (B, 1, 1, 1); phi_t is the larger.

    Examples:
        >>> from pdpipe.diffusion import step_from_x
        >>> x_hat, z_t = torch.ones(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> end = step_from_x(x_hat, z_t, torch.tensor(0.7), torch.tensor(0.0))
        >>> torch.allclose(end, x_hat)  # at sigma_s = 0 it is x_hat
        True
    """
    sigma_t = torch.sin(phi_t)
    keep, add = torch.sin(phi_s) / sigma_t, torch.sin(phi_t - phi_s) / sigma_t
    return mixed(keep, z_t, add, x_hat)


def clipped_ddim_step(v_hat: Tensor, z_t: Tensor, phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """z_s as `ddim_step`, with x_hat clipped to [-1, 1] and eps_hat recomputed from it.

    The arguments v_hat, z_t, phi_t and phi_s are those of `ddim_step`.

    Examples:
        >>> from pdpipe.diffusion import clipped_ddim_step
        >>> v_hat, z_t = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> end = clipped_ddim_step(v_hat, z_t, torch.tensor(0.7), torch.tensor(0.0))
        >>> bool(end.abs().max() <= 1.0)
        True
    """
    x_clipped = x_from_v(v_hat, z_t, phi_t.cos(), phi_t.sin()).clamp(-1.0, 1.0)
    return step_from_x(x_clipped, z_t, phi_t, phi_s)


def transition_share(phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """`1 - exp(log_snr_t - log_snr_s)`, in [0, 1]: the part of z_t's noise that is newer than s.

    With it `q(z_t | z_s) = N((alpha_t / alpha_s) z_s, share sigma_t²)`, and the posterior
    `q(z_s | z_t, x)` has the variance `share sigma_s²`. In the angle it is
    `sin(phi_t - phi_s) sin(phi_t + phi_s) / (sin² phi_t cos² phi_s)`; the second sine is written
    out, since the sum of two angles close to pi/2 has lost the digits of how close.

    Examples:
        >>> from pdpipe.diffusion import transition_share
        >>> t, s = torch.tensor(0.7), torch.tensor(0.4)
        >>> share = transition_share(t, s)
        >>> torch.allclose(share, 1 - (s.tan() / t.tan()) ** 2)
        True
    """
    sum_sine = phi_t.sin() * phi_s.cos() + phi_t.cos() * phi_s.sin()
    return (phi_t - phi_s).sin() * sum_sine / (phi_t.sin() * phi_s.cos()) ** 2


def posterior_mean(x_hat: Tensor, z_t: Tensor, phi_t: Tensor, phi_s: Tensor) -> Tensor:
    """The mean of q(z_s | z_t, x = x_hat): `r (alpha_s / alpha_t) z_t + (1 - r) alpha_s x_hat`.

    `r = exp(log_snr_t - log_snr_s)`; the first coefficient is computed as
    `(alpha_t / alpha_s) (sigma_s / sigma_t)²`, which needs no small alpha_t below the line.

    Args:
        x_hat, z_t: the prediction of x, and the noisy images, (B, C, H, W).
        phi_t, phi_s: angles in [0, pi/2], float64, () or (B, 1, 1, 1); phi_t is the larger.

    Source: DDPM, equations 6 and 7, in the form of PD, section 2.

    Examples:
        >>> from pdpipe.diffusion import posterior_mean
        >>> x_hat, z_t = torch.ones(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> posterior_mean(x_hat, z_t, torch.tensor(0.7), torch.tensor(0.4)).shape
        torch.Size([2, 1, 8, 8])
    """
    keep = phi_t.cos() / phi_s.cos() * (phi_s.sin() / phi_t.sin()) ** 2
    add = transition_share(phi_t, phi_s) * phi_s.cos()
    return mixed(keep, z_t, add, x_hat)


def posterior_std(phi_t: Tensor, phi_s: Tensor, gamma: float) -> Tensor:
    """Standard deviation of an ancestral step, its log interpolated between the two bounds.

    Variance `(share sigma_s²)^(1 - gamma) (share sigma_t²)^gamma`: gamma = 0 is the posterior's,
    the lower bound (data without variance), gamma = 1 that of q(z_t | z_s), the upper one (data
    that are noise themselves).

    Args:
        phi_t, phi_s: angles in [0, pi/2], float64, of one shape; phi_t is the larger.
        gamma: in [0, 1].

    Source: DDPM, section 3.2; PD, figure 6 (log-interpolated).

    Examples:
        >>> from pdpipe.diffusion import posterior_std
        >>> phi_t, phi_s = torch.tensor(0.7), torch.tensor(0.4)
        >>> lower, upper = (posterior_std(phi_t, phi_s, gamma) for gamma in (0.0, 1.0))
        >>> bool(0 < lower < upper)
        True
    """
    share = transition_share(phi_t, phi_s)
    return share.sqrt() * phi_s.sin() ** (1.0 - gamma) * phi_t.sin() ** gamma


def add_noise(z_s: Tensor, eps: Tensor, phi_s: Tensor, phi_t: Tensor) -> Tensor:
    """A sample of q(z_t | z_s): `(alpha_t / alpha_s) z_s + sigma_(t|s) eps`, noisier.

    Args:
        z_s, eps: noisy images and standard normal noise, (B, C, H, W).
        phi_s, phi_t: angles in [0, pi/2], float64, () or (B, 1, 1, 1).

    Examples:
        >>> from pdpipe.diffusion import add_noise
        >>> z_s, eps = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> add_noise(z_s, eps, torch.tensor(0.4), torch.tensor(0.7)).shape
        torch.Size([2, 1, 8, 8])
    """
    share = transition_share(phi_t, phi_s)
    shrink = phi_t.cos() / phi_s.cos()
    return mixed(shrink, z_s, share.sqrt() * phi_t.sin(), eps)
