"""The exact denoiser against the score of the density, and against one Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import SCHEDULES, CosineSchedule, GaussianMixture, eps_from_v

if TYPE_CHECKING:
    from conftest import Gaussian

TIMES = [0.0, 0.1, 0.37, 0.8, 1.0]


def points(count: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, 1, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mixture", [GaussianMixture.grid(), GaussianMixture.pair()], ids=repr)
@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize("time", TIMES)
def test_eps_hat_is_minus_sigma_times_the_score(
    mixture: GaussianMixture, name: str, time: float
) -> None:
    """Tweedie: E[eps | z_t] = -sigma_t grad log q(z_t), the gradient by autograd."""
    schedule = SCHEDULES[name]()
    z, t = points().requires_grad_(True), torch.tensor(time, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t)
    (score,) = torch.autograd.grad(mixture.log_density(z, alpha, sigma).sum(), z)
    z = z.detach()
    eps_hat = eps_from_v(mixture.denoiser(schedule)(z, t), z, alpha, sigma)
    assert_close(eps_hat, -sigma * score, rtol=1e-9, atol=1e-9)


def test_density_integrates_to_one(schedule: CosineSchedule) -> None:
    line = torch.linspace(-4, 4, 401, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)[:, :, None, None]
    alpha, sigma = schedule.alpha_sigma(torch.tensor(0.2))
    total = GaussianMixture.pair().log_density(plane, alpha, sigma).exp().sum() * 0.02**2
    assert total.item() == pytest.approx(1.0, abs=1e-6)


def test_samples_come_from_the_density() -> None:
    mixture = GaussianMixture.pair()
    x, component = mixture.sample(40_000, torch.Generator().manual_seed(0))
    assert x.shape == (40_000, 2, 1, 1)
    assert component.double().mean().item() == pytest.approx(0.7, abs=0.01)
    for k in (0, 1):
        own = x[component == k].flatten(1)
        assert_close(own.mean(0), mixture.means[k], rtol=0, atol=0.01)
        assert (own - mixture.means[k]).std().item() == pytest.approx(0.2, rel=0.02)


def test_a_label_leaves_one_gaussian(gaussian: Gaussian) -> None:
    """And a time for each point."""
    means = torch.tensor([[0.3, 0.3], [-0.9, 0.1]], dtype=torch.float64)
    weights = torch.tensor([0.5, 0.5], dtype=torch.float64)
    mixture = GaussianMixture(means, gaussian.std, weights, torch.arange(2))
    z, t = points(5), torch.tensor(TIMES, dtype=torch.float64).view(-1, 1, 1, 1)
    labels = torch.zeros(5, dtype=torch.int64)
    found = mixture.denoiser(gaussian.schedule, labels)(z, t)
    assert_close(found, gaussian(z, t), rtol=0, atol=1e-12)
    whole = mixture.denoiser(gaussian.schedule)
    assert_close(whole(z, t)[2:3], whole(z[2:3], t[2, 0, 0, 0]), rtol=0, atol=1e-14)
    assert whole(z.float(), t).dtype == torch.float32


def test_no_label_is_the_whole_mixture_and_classes_have_many_components() -> None:
    mixture, schedule, z = GaussianMixture.grid(3), CosineSchedule(), points(6)
    t = torch.tensor(0.4, dtype=torch.float64)
    none = torch.full((6,), mixture.num_classes)
    whole = mixture.denoiser(schedule)(z, t)
    assert torch.equal(mixture.denoiser(schedule, none)(z, t), whole)
    column = GaussianMixture(
        mixture.means[3:6],
        mixture.std,
        torch.full((3,), 1 / 3, dtype=torch.float64),
        torch.zeros(3, dtype=torch.int64),
    )
    found = mixture.denoiser(schedule, torch.ones(6, dtype=torch.int64))(z, t)
    assert_close(found, column.denoiser(schedule)(z, t), rtol=0, atol=1e-12)
    assert (found - whole).abs().max() > 0.05
