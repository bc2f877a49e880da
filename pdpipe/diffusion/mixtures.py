"""Mixtures of Gaussians: data whose best denoiser is known exactly.

They need no training set and no training: the playground on which samplers and distillation are
tested, and `pdpipe toy` draws its story.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pdpipe.diffusion.parameterization import scale
from pdpipe.diffusion.schedule import Schedule


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """Points of D dimensions from K Gaussians of one standard deviation, in classes.

    As images they are (B, D, 1, 1), so that all that works on images works on them.

    Examples:
        >>> from pdpipe.diffusion import DDIM, CosineSchedule, GaussianMixture, uniform_grid
        >>> mixture, schedule = GaussianMixture.grid(), CosineSchedule()
        >>> z_1 = torch.randn(1000, 2, 1, 1, dtype=torch.float64)
        >>> x = DDIM(schedule).sample(mixture.denoiser(schedule), z_1, uniform_grid(64))
        >>> nearest = torch.cdist(x.flatten(1), mixture.means).amin(dim=1)
        >>> bool(nearest.median() < 0.1)  # close to one of its 25 means
        True
    """

    means: Tensor  # (K, D), float64
    std: float
    weights: Tensor  # of the components, (K,), float64, with the sum 1
    classes: Tensor  # of the components, (K,), int64

    @property
    def num_classes(self) -> int:
        """The number of classes; as a label it stands for "no label"."""
        return int(self.classes.max()) + 1

    @staticmethod
    def grid(side: int = 5, std: float = 0.05) -> GaussianMixture:
        """side² Gaussians in the plane, on a grid over [-0.8, 0.8]²; classes are columns."""
        line = torch.linspace(-0.8, 0.8, side, dtype=torch.float64)
        means = torch.cartesian_prod(line, line)
        weights = torch.full((side**2,), 1 / side**2, dtype=torch.float64)
        return GaussianMixture(means, std, weights, torch.arange(side**2) // side)

    @staticmethod
    def pair(distance: float = 1.0, std: float = 0.2) -> GaussianMixture:
        """Two Gaussians in the plane, `distance` apart, of weights 0.3 and 0.7: two classes."""
        means = torch.tensor([[-distance / 2, 0.0], [distance / 2, 0.0]], dtype=torch.float64)
        weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
        return GaussianMixture(means, std, weights, torch.arange(2))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(x (count, D, 1, 1) float64, its class (count,))."""
        component = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=torch.float64)
        return (self.means[component] + self.std * noise)[:, :, None, None], self.classes[component]

    def denoiser(self, schedule: Schedule, labels: Tensor | None = None) -> MixtureDenoiser:
        """The exact denoiser: of the whole mixture, or of each point's own class, labels (B,)."""
        return MixtureDenoiser(self, schedule, labels)

    def log_density(self, z: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """log q(z_t) of points (B, D, 1, 1) at noise (alpha, sigma): (B,), float64."""
        variance = alpha.reshape(-1, 1) ** 2 * self.std**2 + sigma.reshape(-1, 1) ** 2
        logits = self._component_logits(z, alpha, variance)
        dimensions = self.means.shape[1]
        normal = -0.5 * dimensions * (2 * math.pi * variance[:, 0]).log()
        return torch.logsumexp(logits, dim=1) + normal

    def _component_logits(self, z: Tensor, alpha: Tensor, variance: Tensor) -> Tensor:
        """log of weight times unnormalised density of each component: (B, K)."""
        centred = z.double().flatten(1)[:, None, :] - alpha.reshape(-1, 1, 1) * self.means
        return self.weights.log() - centred.square().sum(2) / (2 * variance)


@dataclass(frozen=True, eq=False)
class MixtureDenoiser:
    """(z_t, t) -> v_hat = alpha E[eps | z_t] - sigma E[x | z_t], in closed form.

    Within a component x and z_t are jointly normal: with S = alpha² std² + sigma² the variance of
    z_t and r = z_t - alpha mean, `E[x | z_t] = mean + alpha std² r / S` and
    `E[eps | z_t] = sigma r / S`; the components count by their posterior probability. For points
    on the CPU.
    """

    mixture: GaussianMixture
    schedule: Schedule
    labels: Tensor | None = None  # (B,), `num_classes` for no label; None for none at all

    def __call__(self, z_t: Tensor, t: Tensor) -> Tensor:
        """v_hat, shaped like z_t, in its dtype; computed in float64."""
        mixture = self.mixture
        alpha, sigma = self.schedule.alpha_sigma(t)
        variance = alpha.reshape(-1, 1) ** 2 * mixture.std**2 + sigma.reshape(-1, 1) ** 2
        logits = mixture._component_logits(z_t, alpha, variance)
        if self.labels is not None:
            labels = self.labels[:, None]
            other = (labels != mixture.classes) & (labels != mixture.num_classes)
            logits = logits.masked_fill(other, -math.inf)
        mean = logits.softmax(dim=1) @ mixture.means
        mean = mean[:, :, None, None]
        variance = variance[:, :, None, None]
        centred = (z_t.double() - scale(alpha, mean) * mean) / variance
        v_hat = alpha * sigma * (1 - mixture.std**2) * centred - sigma * mean
        return v_hat.to(z_t.dtype)
