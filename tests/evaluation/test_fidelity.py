"""FID and inception score against computations that share no code with torch-fidelity."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.fidelity import Statistics, feature_statistics, fid, inception_score


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated(n: int, width: int, seed: int) -> Tensor:
    g = generator(seed)
    mix = torch.randn(width, width, generator=g, dtype=torch.float64)
    shift = torch.randn(width, generator=g, dtype=torch.float64)
    return torch.randn(n, width, generator=g, dtype=torch.float64) @ mix + shift


def fid_by_sqrtm(a: Tensor, b: Tensor) -> float:
    x, y = a.double().numpy(), b.double().numpy()
    centred = [side - side.mean(axis=0) for side in (x, y)]
    s, t = (side.T @ side / (len(side) - 1) for side in centred)
    shift = x.mean(axis=0) - y.mean(axis=0)
    root = scipy.linalg.sqrtm(s @ t).real
    return float(shift @ shift + np.trace(s) + np.trace(t) - 2 * np.trace(root))


def of(a: Tensor, b: Tensor) -> float:
    return fid(feature_statistics(a), feature_statistics(b))


def rotated(variances: Tensor, rotation: Tensor, mu: Tensor) -> Statistics:
    return Statistics(mu, rotation @ torch.diag(variances) @ rotation.T, 1000)


@pytest.mark.parametrize(("width", "n", "m"), [(1, 50, 40), (3, 20, 500), (48, 400, 300)])
def test_fid_agrees_with_scipy(width: int, n: int, m: int) -> None:
    a, b = correlated(n, width, 1), correlated(m, width, 2)
    assert of(a, b) == pytest.approx(fid_by_sqrtm(a, b), rel=1e-9)


def test_fid_of_gaussians_with_commuting_covariances_is_the_closed_form() -> None:
    g = generator()
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=g, dtype=torch.float64))[0]
    va, vb = (torch.rand(12, generator=g, dtype=torch.float64) + 0.1 for _ in "ab")
    mu_a, mu_b = (torch.randn(12, generator=g, dtype=torch.float64) for _ in "ab")
    expected = (mu_a - mu_b).square().sum() + (va.sqrt() - vb.sqrt()).square().sum()
    value = fid(rotated(va, rotation, mu_a), rotated(vb, rotation, mu_b))
    assert value == pytest.approx(float(expected), rel=1e-12)


def test_fid_is_symmetric_and_scales_with_the_square() -> None:
    a, b = correlated(300, 10, 3), correlated(200, 10, 4)
    assert of(a, b) == pytest.approx(of(b, a), rel=1e-10)
    assert of(3 * a, 3 * b) == pytest.approx(9 * of(a, b), rel=1e-10)


def test_a_shift_of_all_samples_adds_its_square() -> None:
    a, b = correlated(300, 10, 5), correlated(200, 10, 5)
    shift = torch.arange(10, dtype=torch.float64)
    gap = a.mean(dim=0) - b.mean(dim=0)
    expected = of(a, b) + float((gap + shift).square().sum() - gap.square().sum())
    assert of(a + shift, b) == pytest.approx(expected, rel=1e-10)


def test_fid_of_equal_sets_is_zero_and_never_negative() -> None:
    for n, width in ((500, 20), (10, 30)):  # the second has a singular covariance
        value = of(correlated(n, width, 6), correlated(n, width, 6))
        assert 0.0 <= value < 1e-4
    assert of(correlated(500, 20, 6), correlated(500, 20, 6)) < 1e-9


def test_fid_with_singular_covariances_agrees_with_singular_values() -> None:
    a, b = correlated(25, 60, 7), correlated(500, 60, 8)
    a[:, 5], b[:, 5] = 0.0, 0.0  # a dead feature
    x, y = ((side - side.mean(dim=0)) / (len(side) - 1) ** 0.5 for side in (a, b))
    root = torch.linalg.svdvals(x @ y.T).sum()  # tr (S T)^(1/2) is the nuclear norm
    gap = a.mean(dim=0) - b.mean(dim=0)
    expected = gap.square().sum() + x.square().sum() + y.square().sum() - 2 * root
    assert of(a, b) == pytest.approx(float(expected), rel=1e-6)


def test_neither_row_order_nor_dtype_moves_fid() -> None:
    a, b = correlated(400, 24, 9).float(), correlated(300, 24, 10).float()
    order = torch.randperm(len(a), generator=generator(1))
    assert of(a[order], b) == pytest.approx(of(a, b), abs=1e-9)
    assert of(a.double(), b) == of(a, b)  # a float64 side beside a float32 one is no clash


def test_statistics_are_float64_and_unbiased() -> None:
    a = correlated(100, 6, 11)
    found = feature_statistics(a.float())
    assert found.mu.dtype == found.sigma.dtype == torch.float64
    assert found.count == 100
    torch.testing.assert_close(found.mu, a.float().double().mean(dim=0), rtol=1e-12, atol=1e-12)
    expected = torch.cov(a.float().double().T)
    torch.testing.assert_close(found.sigma, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (torch.zeros(1, 4), "of at least 2 samples, got 1: evaluate more images"),
        (torch.zeros(0, 4), "of at least 2 samples, got 0"),
        (torch.zeros(5, 4, dtype=torch.int64), "expected a floating-point matrix .* got torch.int"),
        (torch.zeros(5, 4, 2), r"expected a floating-point matrix .* \(5, 4, 2\)"),
        (torch.tensor([[1.0, 2.0], [float("nan"), 1.0], [float("inf"), 1.0]]), "2 of 3 samples"),
        (torch.tensor([[1e300], [-1e300]], dtype=torch.float64), "too large for a covariance"),
    ],
)
def test_features_that_have_no_fid_say_why(features: Tensor, said: str) -> None:
    with pytest.raises(EvaluationError, match=f"fakes: .*{said}"):
        feature_statistics(features, of="fakes")


def test_features_of_two_extractors_or_without_a_finite_distance_say_why() -> None:
    a, b = feature_statistics(correlated(9, 3, 0)), feature_statistics(correlated(9, 4, 0))
    with pytest.raises(EvaluationError, match="got 3 and 4 features a sample: compute both"):
        fid(a, b)
    huge = feature_statistics(correlated(9, 3, 0) * 1e120)
    with pytest.raises(EvaluationError, match="FID is not finite"):
        fid(huge, huge)


def is_by_numpy(logits: Tensor) -> float:
    values = logits.double().numpy()
    p = np.exp(values - values.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    marginal = p.mean(axis=0)
    return float(np.exp(np.mean(np.sum(p * (np.log(p) - np.log(marginal)), axis=1))))


def test_inception_score_agrees_with_numpy() -> None:
    logits = 3 * torch.randn(317, 7, generator=generator(2))
    assert inception_score(logits) == pytest.approx(is_by_numpy(logits), rel=1e-12)
    order = torch.randperm(317, generator=generator(3))
    assert inception_score(logits[order]) == pytest.approx(inception_score(logits), rel=1e-12)


def test_inception_score_of_splits_is_the_mean_over_shuffled_parts() -> None:
    logits = 3 * torch.randn(105, 7, generator=generator(4))
    order = torch.from_numpy(np.random.RandomState(11).permutation(105))
    parts = [logits[order][i * 105 // 10 : (i + 1) * 105 // 10] for i in range(10)]
    expected = np.mean([is_by_numpy(part) for part in parts])
    assert inception_score(logits, splits=10, seed=11) == pytest.approx(expected, rel=1e-12)
    assert expected < is_by_numpy(logits) * 0.9  # why one split is the default


def test_inception_score_has_its_limits_at_1_and_at_the_number_of_classes() -> None:
    assert inception_score(torch.ones(40, 10)) == pytest.approx(1.0, abs=1e-12)
    sure = 200.0 * torch.eye(10).repeat(4, 1)
    assert inception_score(sure) == pytest.approx(10.0, rel=1e-12)
    assert inception_score(sure[:1].repeat(40, 1)) == pytest.approx(1.0, abs=1e-12)


def test_logits_that_have_no_score_say_why() -> None:
    with pytest.raises(EvaluationError, match="2 samples in each of 10 splits, got 19 samples"):
        inception_score(torch.zeros(19, 3), splits=10)
    with pytest.raises(EvaluationError, match="each of 1 splits, got 1 samples: evaluate more"):
        inception_score(torch.zeros(1, 3))
    with pytest.raises(EvaluationError, match="the logits: 1 of 2 samples"):
        inception_score(torch.tensor([[0.0, 1.0], [float("nan"), 1.0]]))
    with pytest.raises(EvaluationError, match="score is not finite: the logits are too large"):
        inception_score(torch.tensor([[1e6, 0.0], [1e6, 0.0]]))
