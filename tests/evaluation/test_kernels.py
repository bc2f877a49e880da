"""Kernel distances: against torch-fidelity, a double loop and the jackknife done by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.fidelity import torch_fidelity
from pdpipe.evaluation.intervals import jackknife, stratified_groups
from pdpipe.evaluation.kernels import Kernel, cubic, gaussian, kernel_distance, kernel_mean
from pdpipe.evaluation.records import JACKKNIFE_DOF
from pdpipe.reporting.intervals import margin


def normal(count: int, width: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) + shift


KERNELS = [cubic(), gaussian(1.5)]
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=["cubic", "gaussian"])


def test_with_the_cubic_kernel_it_is_what_torch_fidelity_computes_of_equal_numbers() -> None:
    fake, real = normal(150, 8, 0), normal(150, 8, 1, shift=0.3)
    mmd = torch_fidelity("metric_kid").kernel_mmd(fake.numpy(), real.numpy())
    value, error = kernel_distance(fake, real, kernel_mean(real, cubic()), None, cubic())
    assert value == pytest.approx(float(mmd), rel=1e-12)
    assert error is None


FORMULAS: list[Callable[[Tensor, Tensor], float]] = [
    lambda a, b: (float(a @ b) / 3 + 1) ** 3,
    lambda a, b: math.exp(-float((a - b) @ (a - b)) / (2 * 1.5**2)),
]


@pytest.mark.parametrize(("kernel", "k"), list(zip(KERNELS, FORMULAS, strict=True)))
def test_it_is_the_mean_over_pairs_of_different_samples(
    kernel: Kernel, k: Callable[[Tensor, Tensor], float]
) -> None:
    fake, real = normal(7, 3, 0), normal(9, 3, 1)
    ff = [k(a, b) for i, a in enumerate(fake) for j, b in enumerate(fake) if i != j]
    rr = [k(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j]
    fr = [k(a, b) for a in fake for b in real]
    expected = np.mean(ff) + np.mean(rr) - 2 * np.mean(fr)
    found, _ = kernel_distance(fake, real, kernel_mean(real, kernel), None, kernel)
    assert found == pytest.approx(expected, rel=1e-9)


@every_kernel
def test_its_standard_error_is_the_jackknifes(kernel: Kernel) -> None:
    fake, real = normal(60, 4, 0), normal(50, 4, 1, shift=0.2)
    groups = stratified_groups(torch.zeros(60, dtype=torch.int64))
    assert groups is not None
    mean = kernel_mean(real, kernel)
    without = [kernel_distance(fake[groups != g], real, mean, None, kernel)[0] for g in range(10)]
    value, error = kernel_distance(fake, real, mean, groups, kernel)
    assert value == pytest.approx(kernel_distance(fake, real, mean, None, kernel)[0], rel=1e-12)
    assert error == pytest.approx(jackknife(without), rel=1e-9)


@every_kernel
def test_it_is_unbiased_and_its_intervals_cover(kernel: Kernel) -> None:
    real = normal(200, 4, 99)
    mean = kernel_mean(real, kernel)
    groups = stratified_groups(torch.zeros(80, dtype=torch.int64))
    found = [
        kernel_distance(normal(80, 4, seed, shift=0.2), real, mean, groups, kernel)
        for seed in range(200)
    ]
    values = torch.tensor([value for value, _ in found])
    large = kernel_distance(normal(20_000, 4, 1000, shift=0.2), real, mean, None, kernel)[0]
    spread = float(values.std()) / math.sqrt(len(found))
    assert abs(float(values.mean()) - large) < 4 * spread
    covered = sum(
        abs(value - large) <= margin(error, JACKKNIFE_DOF) for value, error in found
    ) / len(found)
    assert 0.89 <= covered <= 0.99


@pytest.mark.parametrize("chunk", [1, 7, 60])
@every_kernel
def test_the_chunks_do_not_matter(
    kernel: Kernel, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, real = normal(60, 4, 0), normal(50, 4, 1)
    groups = stratified_groups(torch.zeros(60, dtype=torch.int64))
    expected = kernel_distance(fake, real, kernel_mean(real, kernel), groups, kernel)
    monkeypatch.setattr("pdpipe.evaluation.kernels._BLOCK", chunk)
    found = kernel_distance(fake, real, kernel_mean(real, kernel), groups, kernel)
    assert found == pytest.approx(expected, rel=1e-10)


def test_one_image_has_no_pairs() -> None:
    one = normal(1, 4, 0)
    with pytest.raises(EvaluationError, match="needs at least 2, got 1: evaluate more"):
        kernel_mean(one, cubic())
    with pytest.raises(EvaluationError, match="needs at least 2, got 1"):
        kernel_distance(one, normal(5, 4, 1), 0.0, None, cubic())
