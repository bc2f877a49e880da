"""DPM-Solver++(2M), Euler, Heun and RK4 against loops in numpy, written from the papers' formulas.

Nothing here calls pdpipe but the sampler under test: the schedules, the mixture's score and the
loops are their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from pdpipe.diffusion import (
    SAMPLERS,
    CosineSchedule,
    GaussianMixture,
    LinearBetaSchedule,
    LinearLogSNRSchedule,
    Schedule,
)

Array = np.ndarray[Any, np.dtype[np.float64]]
Slope = Callable[[Array, float], Array]

MEANS = np.array([[-1.3, 0.2], [0.9, -0.4], [0.1, 1.2]])  # some x_hat leave [-1, 1]
WEIGHTS, STD = np.array([0.2, 0.5, 0.3]), 0.3
Z_1 = np.random.default_rng(0).standard_normal((16, 2))


@dataclass(frozen=True)
class Process:
    """A variance-preserving process: its log-SNR, and its beta in dz = -beta/2 z dt + ..."""

    log_snr: Callable[[float], float]
    beta: Callable[[float], float]  # beta = -dlog(alpha²)/dt = -(1 - alpha²) dlog_snr/dt

    def alpha_sigma(self, t: float) -> tuple[float, float]:
        log_snr = self.log_snr(t)
        return 1 / np.sqrt(1 + np.exp(-log_snr)), 1 / np.sqrt(1 + np.exp(log_snr))

    def angle(self, t: float) -> float:
        alpha, sigma = self.alpha_sigma(t)
        return float(np.arctan2(sigma, alpha))

    def x_hat(self, z: Array, t: float, clip: bool) -> Array:
        """Tweedie's formula, E[x | z] = (z + sigma² score) / alpha, without the division."""
        alpha, sigma = self.alpha_sigma(t)
        total = alpha**2 * STD**2 + sigma**2
        centred = z[:, None, :] - alpha * MEANS
        logits = np.log(WEIGHTS) - (centred**2).sum(2) / (2 * total)
        density = np.exp(logits - logits.max(1, keepdims=True))
        posterior = density / density.sum(1, keepdims=True)
        x = (posterior[:, :, None] * (MEANS + alpha * STD**2 / total * centred)).sum(1)
        return np.clip(x, -1, 1) if clip else x


def cosine(low: float, high: float) -> Process:
    start = np.arctan(np.exp(-high / 2))
    span = np.arctan(np.exp(-low / 2)) - start
    return Process(
        lambda t: -2 * np.log(np.tan(start + span * t)),
        lambda t: 2 * span * np.tan(start + span * t),
    )


def linear_log_snr(low: float, high: float) -> Process:
    def log_snr(t: float) -> float:
        return high + (low - high) * t

    return Process(log_snr, lambda t: (high - low) / (1 + np.exp(log_snr(t))))


def linear_beta(low: float, high: float) -> Process:
    """beta(u) = 0.1 + 19.9 u of the score SDEs, u between the two log-SNRs."""

    def u_of(log_snr: float) -> float:
        integral = np.logaddexp(0, -log_snr)
        return float(2 * integral / (0.1 + np.sqrt(0.01 + 2 * 19.9 * integral)))

    first = u_of(high)
    span = u_of(low) - first

    def log_snr(t: float) -> float:
        u = first + span * t
        return float(-np.log(np.expm1(0.1 * u + 19.9 * u**2 / 2)))

    return Process(log_snr, lambda t: span * (0.1 + 19.9 * (first + span * t)))


CASES: dict[str, tuple[Schedule, Process]] = {
    "cosine": (CosineSchedule(), cosine(-20, 20)),
    "cosine, other ends": (CosineSchedule(log_snr_min=-9, log_snr_max=7), cosine(-9, 7)),
    "linear_log_snr": (LinearLogSNRSchedule(), linear_log_snr(-20, 20)),
    "linear_beta": (LinearBetaSchedule(), linear_beta(-10.05, 20)),
}


def dpm_solver(process: Process, z: Array, grid: list[float], clip: bool) -> Array:
    """Lu et al. 2022 (DPM-Solver++), Algorithm 2, with lambda = log(alpha / sigma)."""
    half = [process.log_snr(t) / 2 for t in grid]
    before = None
    for i in range(1, len(grid) - 1):
        x = process.x_hat(z, grid[i - 1], clip)
        (_, sigma_before), (alpha, sigma) = (process.alpha_sigma(t) for t in grid[i - 1 : i + 1])
        h, combined = half[i] - half[i - 1], x
        if before is not None:
            r = (half[i - 1] - half[i - 2]) / h
            combined = (1 + 1 / (2 * r)) * x - 1 / (2 * r) * before
        z = sigma / sigma_before * z - alpha * (np.exp(-h) - 1) * combined
        before = x
    return process.x_hat(z, grid[-2], clip)


def velocity(process: Process, clip: bool) -> Slope:
    """PD, appendix D: dz/dphi = v = alpha eps_hat - sigma x_hat."""

    def slope(z: Array, t: float) -> Array:
        alpha, sigma = process.alpha_sigma(t)
        x = process.x_hat(z, t, clip)
        return alpha * (z - alpha * x) / sigma - sigma * x

    return slope


def flow(process: Process, clip: bool) -> Slope:
    """SDE, equation 13: dz/dt = -beta/2 (z + score), the score being -eps_hat / sigma."""

    def slope(z: Array, t: float) -> Array:
        alpha, sigma = process.alpha_sigma(t)
        score = (alpha * process.x_hat(z, t, clip) - z) / sigma**2
        return -process.beta(t) / 2 * (z + score)

    return slope


def euler(process: Process, z: Array, grid: list[float], clip: bool) -> Array:
    f = velocity(process, clip)
    for t, s in pairwise(grid):
        z = z + (process.angle(s) - process.angle(t)) * f(z, t)
    return z


def heun(process: Process, z: Array, grid: list[float], clip: bool) -> Array:
    """The trapezoidal rule, its end from a step of Euler's."""
    f = velocity(process, clip)
    for t, s in pairwise(grid):
        h = process.angle(s) - process.angle(t)
        guess = z + h * f(z, t)
        z = z + h * (f(z, t) + f(guess, s)) / 2
    return z


def rk4(process: Process, z: Array, grid: list[float], clip: bool) -> Array:
    """The classical Butcher tableau, in t."""
    f = flow(process, clip)
    for t, s in pairwise(grid):
        h, slopes = s - t, []
        for a in (0, 1 / 2, 1 / 2, 1):
            at = z + a * h * slopes[-1] if slopes else z
            slopes.append(f(at, t + a * h))
        z = z + h * sum(b * k for b, k in zip((1 / 6, 1 / 3, 1 / 3, 1 / 6), slopes, strict=True))
    return z


LOOPS = {"dpm_solver": dpm_solver, "euler": euler, "heun": heun, "rk4": rk4}


def expected(name: str, process: Process, grid: list[float], clip: bool) -> Array:
    """x; a flow that clips ends with the x_hat of the last time but one."""
    if name == "dpm_solver" or not clip:
        return LOOPS[name](process, Z_1, grid, clip)
    return process.x_hat(LOOPS[name](process, Z_1, grid[:-1], clip), grid[-2], clip)


@pytest.mark.parametrize("bend", [1.0, 1.7], ids=["even", "uneven"])
@pytest.mark.parametrize("clip", [False, True], ids=["free", "clipped"])
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("name", list(LOOPS))
def test_it_is_the_textbook_loop(name: str, case: str, clip: bool, bend: float) -> None:
    """On N = 1, 2, 3 and 8 intervals, even ones and uneven ones."""
    schedule, process = CASES[case]
    mixture = GaussianMixture(
        torch.from_numpy(MEANS), STD, torch.from_numpy(WEIGHTS), torch.arange(3)
    )
    sampler = SAMPLERS[name](schedule, clip=clip)
    for num_steps in (1, 2, 3, 8):
        grid = [(i / num_steps) ** bend for i in range(num_steps, -1, -1)]
        x = sampler.sample(
            mixture.denoiser(schedule),
            torch.from_numpy(Z_1)[:, :, None, None],
            torch.tensor(grid, dtype=torch.float64),
        )
        exact = expected(name, process, grid, clip)
        np.testing.assert_allclose(x.flatten(1).numpy(), exact, rtol=1e-9, atol=1e-9)
        if clip and num_steps == 8:
            free = expected(name, process, grid, False)
            assert np.abs(free - exact).max() > 1e-3, "nothing was clipped"
