"""The targets of GD's Algorithms 3, 4 and 5 on mixtures of Gaussians, by independent arithmetic."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pdpipe.diffusion import (
    CosineSchedule,
    Denoiser,
    GaussianMixture,
    GuidedDenoiser,
    ddim_step,
    decoding_times,
    diffuse,
    encode,
    encoding_times,
    multi_step_target,
    stochastic_times,
    target_along,
    uniform_grid,
    x_from_v,
)

SCHEDULE = CosineSchedule()
COUNTS = [1, 2, 3, 8, 64, 1024]
TIMES = {"stochastic": stochastic_times, "encoder": encoding_times}
RATIO = {"stochastic": 1, "encoder": 2}
float64 = partial(torch.tensor, dtype=torch.float64)


def fractions(algorithm: str, i: int, n: int) -> list[Fraction]:
    """t, t' and t'' of a student of n steps as the papers write them, i in 1 … n."""
    half = Fraction(1, 2 * n)
    if algorithm == "stochastic":
        t = Fraction(i, n)
        return [t, t - 2 * half, t - 4 * half] if i > 1 else [t, Fraction(0)]
    if algorithm == "encoder":
        t = Fraction(i - 1, n)  # the paper's i is 0 … n - 1
        return [t, t + half, t + 2 * half]
    t = Fraction(i, n)
    return [t, t - half, t - 2 * half]


class Case:
    """Points of a mixture at the first time of each interval of a student of n steps."""

    def __init__(self, mixture: GaussianMixture, algorithm: str, n: int, w: float) -> None:
        chosen = range(1, n + 1) if n <= 8 else (1, 2, 3, n // 2, n - 1, n)
        self.indices = [i for i in chosen for _ in range(3)]
        self.times = [fractions(algorithm, i, n) for i in self.indices]
        self.i = float64(self.indices).view(-1, 1, 1, 1)
        self.t, self.end = (
            float64([float(times[k]) for times in self.times]).view(-1, 1, 1, 1) for k in (0, -1)
        )
        generator = torch.Generator().manual_seed(n)
        x, self.labels = mixture.sample(len(self.indices), generator)
        eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        self.z_t = diffuse(x, eps, *SCHEDULE.alpha_sigma(self.t))
        null = torch.full_like(self.labels, mixture.num_classes)
        self.conditional, self.unconditional = (
            mixture.denoiser(SCHEDULE, labels) for labels in (self.labels, null)
        )
        both = mixture.denoiser(SCHEDULE, torch.cat([self.labels, null]))
        self.w = torch.full((len(x),), w, dtype=torch.float64)
        self.guided = GuidedDenoiser(both, self.w)

    def target(self, algorithm: str, n: int) -> Tensor:
        """v_target of the guided mixture."""
        return multi_step_target(
            self.guided, self.z_t, self.i, n, SCHEDULE, RATIO[algorithm], TIMES[algorithm]
        )

    def naive(self, second: Denoiser, n: int) -> Tensor:
        """v_target of Algorithm 5 whose second step is made with `second`."""
        times = decoding_times(self.i, n)
        return target_along([self.guided, second], self.z_t, times, SCHEDULE)

    def as_x(self, v_hat: Tensor) -> Tensor:
        return x_from_v(v_hat, self.z_t, *SCHEDULE.alpha_sigma(self.t))

    def papers_end(self, k: int, *teachers: Denoiser) -> Tensor:
        """z'' of image k by textbook DDIM steps; one teacher for each step."""
        z = self.z_t
        for (t, s), teacher in zip(pairwise(self.times[k]), teachers, strict=False):
            (alpha_t, sigma_t), (alpha_s, sigma_s) = (
                SCHEDULE.alpha_sigma(float64(float(u))) for u in (t, s)
            )
            v_hat = teacher(z, torch.full_like(self.t, float(t)))
            x_hat, eps_hat = alpha_t * z - sigma_t * v_hat, sigma_t * z + alpha_t * v_hat
            z = alpha_s * x_hat + sigma_s * eps_hat
        return z[k]

    def papers_x_target(self, *teachers: Denoiser) -> Tensor:
        """x_target of each image by the papers' formula."""
        found = []
        for k, z_t in enumerate(self.z_t):
            (alpha_t, sigma_t), (alpha, sigma) = (
                SCHEDULE.alpha_sigma(u[k]) for u in (self.t, self.end)
            )
            end, ratio = self.papers_end(k, *teachers), sigma / sigma_t
            found.append((end - ratio * z_t) / (alpha - ratio * alpha_t))
        return torch.stack(found)


@pytest.mark.parametrize("w", [0.0, 1.5])
@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("algorithm", list(TIMES))
def test_target_is_the_papers_and_lands_on_the_teachers_end(
    algorithm: str, n: int, w: float
) -> None:
    case = Case(GaussianMixture.grid(), algorithm, n, w)
    v_goal = case.target(algorithm, n)
    expected = case.papers_x_target(case.guided, case.guided)
    assert_close(case.as_x(v_goal), expected, rtol=0, atol=1e-9)
    landed = ddim_step(v_goal, case.z_t, SCHEDULE.angle(case.t), SCHEDULE.angle(case.end))
    ends = [case.papers_end(k, case.guided, case.guided) for k in range(len(case.z_t))]
    assert_close(landed, torch.stack(ends), rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", COUNTS)
def test_naive_targets_are_the_papers_and_mix_to_that_of_algorithm_2(n: int) -> None:
    case = Case(GaussianMixture.grid(), "naive", n, 1.5)
    of_c, of_u = (case.naive(second, n) for second in (case.conditional, case.unconditional))
    for found, second in ((of_c, case.conditional), (of_u, case.unconditional)):
        expected = case.papers_x_target(case.guided, second)
        assert_close(case.as_x(found), expected, rtol=0, atol=1e-9)
    w = case.w.view(-1, 1, 1, 1)
    both = multi_step_target(case.guided, case.z_t, case.i, n, SCHEDULE)
    assert_close((1 + w) * of_c - w * of_u, both, rtol=0, atol=1e-12)
    assert (of_c - both).abs().max() > 1e-6, "the two targets are the same"


@pytest.mark.parametrize("n", COUNTS)
def test_without_guidance_the_naive_conditional_target_is_that_of_halving(n: int) -> None:
    case = Case(GaussianMixture.grid(), "naive", n, 0.0)
    expected = multi_step_target(case.conditional, case.z_t, case.i, n, SCHEDULE)
    assert_close(case.naive(case.conditional, n), expected, rtol=0, atol=1e-14)


def exact_v(mixture: GaussianMixture, z: Any, phi: Any, classes: list[int]) -> Any:
    """v_hat at a point of the plane, a column of mpmath, of the components of these classes."""
    alpha, sigma, variance = mpmath.cos(phi), mpmath.sin(phi), mpmath.mpf(mixture.std) ** 2
    total, above, below = alpha**2 * variance + sigma**2, mpmath.zeros(2, 1), mpmath.mpf(0)
    components = (mixture.means.tolist(), mixture.weights.tolist(), mixture.classes.tolist())
    for mean, weight, label in zip(*components, strict=True):
        if label in classes:
            r = z - alpha * mpmath.matrix(mean)
            density = weight * mpmath.exp(-(r[0] ** 2 + r[1] ** 2) / (2 * total))
            above += density * (mpmath.matrix(mean) + alpha * variance / total * r)
            below += density
    return (alpha * z - above / below) / sigma


def exact_target(
    mixture: GaussianMixture, z: list[float], label: int, w: float, times: list[Fraction], kind: str
) -> tuple[list[float], list[float]]:
    """(x_target, v_target) of one point, by the papers' formula; kind: of the second step."""
    with mpmath.workdps(50):
        low, high = (mpmath.atan(mpmath.exp(mpmath.mpf(end) / 2)) for end in (-20, 20))
        phi = [low + (high - low) * t.numerator / t.denominator for t in times]
        start = state = mpmath.matrix(z)
        for step, (t, s) in enumerate(pairwise(phi)):
            v_c, v_u = (exact_v(mixture, state, t, known) for known in ([label], [0, 1]))
            v_w = (1 + w) * v_c - w * v_u
            v_hat = {"w": v_w, "c": v_c, "u": v_u}[kind if step == 1 else "w"]
            x_hat = mpmath.cos(t) * state - mpmath.sin(t) * v_hat
            eps_hat = mpmath.sin(t) * state + mpmath.cos(t) * v_hat
            state = mpmath.cos(s) * x_hat + mpmath.sin(s) * eps_hat
        ratio = mpmath.sin(phi[-1]) / mpmath.sin(phi[0])
        x = (state - ratio * start) / (mpmath.cos(phi[-1]) - ratio * mpmath.cos(phi[0]))
        v = (mpmath.cos(phi[0]) * start - x) / mpmath.sin(phi[0])
        return [float(a) for a in x], [float(a) for a in v]


@pytest.mark.parametrize("n", [1, 2, 8, 1024])
@pytest.mark.parametrize("algorithm", ["stochastic", "encoder", "naive c", "naive u"])
def test_targets_in_fifty_digits(algorithm: str, n: int) -> None:
    """x_target and v_target, denoiser and all, also where the papers' form cancels."""
    mixture, w = GaussianMixture.pair(), 1.5
    name, _, kind = algorithm.partition(" ")
    case = Case(mixture, name, n, w)
    if name == "naive":
        v_goal = case.naive(case.conditional if kind == "c" else case.unconditional, n)
    else:
        v_goal = case.target(algorithm, n)
    x_goal = case.as_x(v_goal)
    for k, times in enumerate(case.times):
        z = case.z_t[k].flatten().tolist()
        x, v = exact_target(mixture, z, int(case.labels[k]), w, times, kind or "w")
        assert x_goal[k].flatten().tolist() == pytest.approx(x, rel=0, abs=1e-10)
        assert v_goal[k].flatten().tolist() == pytest.approx(v, rel=0, abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", COUNTS)
def test_last_interval_of_a_stochastic_student_is_the_teachers_own_prediction(
    n: int, dtype: torch.dtype
) -> None:
    """Bit for bit at i = 1; so the round N = 1, whose only time is t = 1, is an identity."""
    case = Case(GaussianMixture.grid(), "stochastic", n, 1.5)
    case.z_t = case.z_t.to(dtype)
    last = case.i.flatten() == 1
    expected = case.guided(case.z_t, case.t)
    found = case.target("stochastic", n)
    assert torch.equal(found[last], expected[last])
    assert last.all() == (n == 1)
    assert last.all() or (found - expected)[~last].abs().amax(dim=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_times_of_the_algorithms(n: int) -> None:
    for algorithm, times in {**TIMES, "halve": decoding_times}.items():
        i = torch.arange(1, n + 1)
        passed = times(i.view(-1, 1, 1, 1), n, RATIO.get(algorithm, 2))
        assert all(t.dtype == torch.float64 for t in passed)
        for k, index in enumerate(i.tolist()):
            exact = fractions(algorithm, index, n)
            exact += exact[-1:] * (3 - len(exact))  # the step of length 0
            assert [float(t.flatten()[k]) for t in passed] == [float(t) for t in exact]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_an_encoder_that_predicts_its_target_is_the_teacher_backwards(n: int) -> None:
    """From z_0 to z_1 in N steps, where the teacher takes 2N."""
    mixture = GaussianMixture.grid()
    x, labels = mixture.sample(20, torch.Generator().manual_seed(0))
    teacher = mixture.denoiser(SCHEDULE, labels)

    def student(z_t: Tensor, t: Tensor) -> Tensor:
        i = (t * n + 1).round().expand(len(z_t), 1, 1, 1)
        return multi_step_target(teacher, z_t, i, n, SCHEDULE, times=encoding_times)

    *_, found = encode(student, x, uniform_grid(n), SCHEDULE)
    *_, expected = encode(teacher, x, uniform_grid(2 * n), SCHEDULE)
    assert (found.evaluations, expected.evaluations) == (n, 2 * n)
    assert_close(found.z, expected.z, rtol=0, atol=1e-12)
