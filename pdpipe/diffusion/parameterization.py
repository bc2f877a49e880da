"""What a network may predict, and the way from each prediction to the others (PD, section 4).

v is the hub: whatever a network predicts is turned into v_hat, and x_hat and eps_hat follow from it
without a division. `alpha` and `sigma` are float64 coefficients that broadcast against the images;
results have the images' dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


def scale(coefficient: Tensor, like: Tensor) -> Tensor:
    """A float64 coefficient, cast once to the dtype of the images it multiplies, on their device.

    Coefficients live on the CPU (they are a few numbers, and not every device has float64); one
    without dimensions stays there, since it multiplies tensors of any device as a number.
    """
    cast = coefficient.to(like.dtype)
    return cast if cast.dim() == 0 else cast.to(like.device, non_blocking=True)


def v_target(x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v = alpha eps - sigma x`, the velocity dz/dphi of the pair (x, eps).

    Examples:
        >>> from pdpipe.diffusion import v_target
        >>> x, eps = torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
        >>> v_target(x, eps, torch.tensor(0.8), torch.tensor(0.6)).unique()
        tensor([-0.6000])
    """
    return scale(alpha, x) * eps - scale(sigma, x) * x


def x_from_v(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`x_hat = alpha z_t - sigma v_hat`, shaped like z_t (B, C, H, W).

    Examples:
        >>> from pdpipe.diffusion import diffuse, v_target, x_from_v
        >>> x, eps = torch.ones(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
        >>> z_t, v = diffuse(x, eps, alpha, sigma), v_target(x, eps, alpha, sigma)
        >>> torch.allclose(x_from_v(v, z_t, alpha, sigma), x, atol=1e-6)
        True
    """
    return scale(alpha, z_t) * z_t - scale(sigma, z_t) * v_hat


def eps_from_v(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`eps_hat = sigma z_t + alpha v_hat`, shaped like z_t (B, C, H, W).

    Examples:
        >>> from pdpipe.diffusion import diffuse, eps_from_v, v_target
        >>> x, eps = torch.ones(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
        >>> z_t, v = diffuse(x, eps, alpha, sigma), v_target(x, eps, alpha, sigma)
        >>> torch.allclose(eps_from_v(v, z_t, alpha, sigma), eps, atol=1e-6)
        True
    """
    return scale(sigma, z_t) * z_t + scale(alpha, z_t) * v_hat


def v_from_x(x_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat = (alpha z_t - x_hat) / sigma`, (B, C, H, W); an error of x_hat grows by 1/sigma.

    Examples:
        >>> from pdpipe.diffusion import v_from_x, x_from_v
        >>> x_hat, z_t = torch.ones(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
        >>> torch.allclose(x_from_v(v_from_x(x_hat, z_t, alpha, sigma), z_t, alpha, sigma), x_hat)
        True
    """
    return (scale(alpha, z_t) * z_t - x_hat) / scale(sigma, z_t)


def v_from_eps(eps_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat = (eps_hat - sigma z_t) / alpha`; an error of eps_hat grows by 1/alpha, 2e4 at t = 1.

    That growth is why an eps-predicting model cannot be distilled to few steps. Shaped like z_t
    (B, C, H, W).

    Examples:
        >>> from pdpipe.diffusion import eps_from_v, v_from_eps
        >>> eps_hat, z_t = torch.ones(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> alpha, sigma = torch.tensor(0.8), torch.tensor(0.6)
        >>> back = eps_from_v(v_from_eps(eps_hat, z_t, alpha, sigma), z_t, alpha, sigma)
        >>> torch.allclose(back, eps_hat, atol=1e-6)
        True
    """
    return (eps_hat - scale(sigma, z_t) * z_t) / scale(alpha, z_t)


def v_from_v(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat` itself: there is nothing to convert."""
    return v_hat


def v_from_x_eps(both: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """`v_hat = alpha eps_out - sigma x_out` of two heads, (B, 2C, H, W): x_out, then eps_out.

    It blends them: `x_hat = sigma² x_out + alpha (z_t - sigma eps_out)`, so that each head counts
    where it is well conditioned, and no error grows.

    Args:
        both: what the network outputs, (B, 2C, H, W).
        z_t: the noisy images, (B, C, H, W).
        alpha, sigma: float64 coefficients of the time, () or (B, 1, 1, 1).

    Examples:
        >>> from pdpipe.diffusion import v_from_x_eps
        >>> both, z_t = torch.ones(2, 2, 8, 8), torch.randn(2, 1, 8, 8)
        >>> v_from_x_eps(both, z_t, torch.tensor(0.8), torch.tensor(0.6)).shape
        torch.Size([2, 1, 8, 8])
    """
    assert both.shape[1] == 2 * z_t.shape[1], "the network has one head"
    x_out, eps_out = both.chunk(2, dim=1)
    return v_target(x_out, eps_out, alpha, sigma)


def clipped(v_hat: Tensor, z_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(x_hat clipped to [-1, 1], eps_hat recomputed from it): the pair still mixes to z_t.

    For t well above 0: what is clipped off x_hat comes back in eps_hat times alpha/sigma.

    Args:
        v_hat, z_t: the prediction of v, and the noisy images, (B, C, H, W).
        alpha, sigma: float64 coefficients of the time, () or (B, 1, 1, 1).

    Examples:
        >>> from pdpipe.diffusion import clipped
        >>> v_hat, z_t = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
        >>> x_hat, eps_hat = clipped(v_hat, z_t, torch.tensor(0.8), torch.tensor(0.6))
        >>> torch.allclose(0.8 * x_hat + 0.6 * eps_hat, z_t, atol=1e-6)
        True
    """
    x_hat = x_from_v(v_hat, z_t, alpha, sigma).clamp(-1.0, 1.0)
    return x_hat, (z_t - scale(alpha, z_t) * x_hat) / scale(sigma, z_t)


@dataclass(frozen=True)
class Parameterization:
    """What a network predicts: the way to v, and how many channels it outputs for each of z_t's."""

    to_v: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    heads: int = 1


PARAMETERIZATIONS = {
    "v": Parameterization(v_from_v),
    "x": Parameterization(v_from_x),
    "eps": Parameterization(v_from_eps),
    "x_eps": Parameterization(v_from_x_eps, heads=2),
}
"""What a network may predict, by its name in params.yaml: the way to v, and the output heads."""
