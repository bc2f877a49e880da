"""What a network may predict, and the way from each prediction to the others (PD, section 4).

`alpha` and `sigma` are float64 coefficients that broadcast against the images; results have the
images' dtype.
"""

from __future__ import annotations

from torch import Tensor


def scale(coefficient: Tensor, like: Tensor) -> Tensor:
    """A float64 coefficient, cast once to the dtype of the images it multiplies, on their device.

    Coefficients live on the CPU (they are a few numbers, and not every device has float64); one
    without dimensions stays there, since it multiplies tensors of any device as a number.
    """
    cast = coefficient.to(like.dtype)
    return cast if cast.dim() == 0 else cast.to(like.device, non_blocking=True)


def v_target(x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v = alpha eps - sigma x`, the velocity dz/dphi of the pair (x, eps)."""
    return scale(alpha, x) * eps - scale(sigma, x) * x


def x_from_v(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`x_hat = alpha z_t - sigma v_hat`."""
    return scale(alpha, z_t) * z_t - scale(sigma, z_t) * v_hat


def eps_from_v(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`eps_hat = sigma z_t + alpha v_hat`."""
    return scale(sigma, z_t) * z_t + scale(alpha, z_t) * v_hat


def v_from_x(x_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat = (alpha z_t - x_hat) / sigma`; an error of x_hat grows by 1/sigma."""
    return (scale(alpha, z_t) * z_t - x_hat) / scale(sigma, z_t)


def v_from_eps(eps_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat = (eps_hat - sigma z_t) / alpha`; an error of eps_hat grows by 1/alpha, 2e4 at t = 1.

    That growth is why an eps-predicting model cannot be distilled to few steps.
    """
    return (eps_hat - scale(sigma, z_t) * z_t) / scale(alpha, z_t)


def v_from_v(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat` itself: the identity beside its two neighbours."""
    return v_hat


V_FROM = {"v": v_from_v, "x": v_from_x, "eps": v_from_eps}
