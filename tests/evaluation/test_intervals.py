"""The jackknife: exact where theory is, and intervals that cover where the bootstrap's do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from pdpipe.evaluation.fidelity import Statistics, feature_statistics, fid
from pdpipe.evaluation.intervals import seeds_error, stratified_groups, with_leave_outs
from pdpipe.evaluation.records import JACKKNIFE_DOF
from pdpipe.reporting.intervals import apart, margin, with_margin

CLASSES, COUNT, WIDTH = 4, 240, 6
LABELS = torch.arange(COUNT) % CLASSES


def test_of_a_mean_it_is_the_textbook_standard_error() -> None:
    x = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    groups = stratified_groups(torch.zeros(10, dtype=torch.int64))
    mean, found = with_leave_outs(lambda kept: float(x[kept].mean()), groups, 10)
    assert mean == float(x.mean())
    assert found == pytest.approx(float(x.std() / math.sqrt(10)), rel=1e-12)


@given(rounds=st.integers(10, 200), classes=st.integers(1, 12))
def test_every_group_has_every_class_equally_often(rounds: int, classes: int) -> None:
    labels = torch.arange(rounds * classes) % classes
    groups = stratified_groups(labels)
    assert groups is not None
    counts = torch.zeros(10, classes, dtype=torch.int64)
    counts.index_put_((groups, labels), torch.ones(1, dtype=torch.int64), accumulate=True)
    assert (counts == counts[:, :1]).all()
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("samples", "classes"), [(90, 10), (9, 1), (1, 1)])
def test_too_few_samples_have_no_standard_error(samples: int, classes: int) -> None:
    groups = stratified_groups(torch.arange(samples) % classes)
    assert groups is None
    assert with_leave_outs(lambda kept: float(kept.sum()), groups, samples) == (samples, None)


def test_classes_of_unequal_sizes_are_each_shared_evenly() -> None:
    labels = torch.tensor([2] * 25 + [0] * 11 + [2] * 8)  # and nothing of class 1
    groups = stratified_groups(labels)
    assert groups is not None
    for label, low, high in ((0, 1, 2), (2, 3, 4)):
        counts = torch.bincount(groups[labels == label], minlength=10)
        assert len(counts) == 10
        assert (int(counts.min()), int(counts.max())) == (low, high)


def features(generator: torch.Generator, width: int = WIDTH) -> Tensor:
    """A balanced sample of a mixture: one component a class, far apart."""
    labels = torch.arange(COUNT) % CLASSES
    means = 4.0 * torch.eye(CLASSES, width, dtype=torch.float64)
    noise = torch.randn(COUNT, width, generator=generator, dtype=torch.float64)
    return means[labels] + noise * (1.0 + 0.5 * labels[:, None])


@pytest.fixture(scope="module")
def reference() -> Statistics:
    generator = torch.Generator().manual_seed(1)
    return feature_statistics(torch.cat([features(generator) for _ in range(40)]) * 1.1)


def fid_to(reference: Statistics, rows: Tensor) -> Callable[[Tensor], float]:
    return lambda chosen: fid(feature_statistics(rows[chosen]), reference)


def test_intervals_of_fid_cover_what_they_say(reference: Statistics) -> None:
    generator = torch.Generator().manual_seed(2)
    groups = stratified_groups(LABELS)
    found = []
    for _ in range(150):
        statistic = fid_to(reference, features(generator))
        found.append(with_leave_outs(statistic, groups, COUNT))
    truth = math.fsum(value for value, _ in found) / len(found)  # of FID at this count
    covered = [abs(value - truth) <= margin(se, JACKKNIFE_DOF) for value, se in found]
    low, high = stats.binom(150, 0.95).ppf([0.001, 0.999]) / 150
    assert low <= sum(covered) / len(covered) <= high


def test_intervals_of_a_mean_over_seeds_cover_what_they_say(reference: Statistics) -> None:
    generator = torch.Generator().manual_seed(5)
    seeds, everything = 4, torch.ones(COUNT, dtype=torch.bool)
    found = [
        [fid_to(reference, features(generator))(everything) for _ in range(seeds)]
        for _ in range(150)
    ]
    truth = math.fsum(map(math.fsum, found)) / (150 * seeds)
    covered = [
        abs(math.fsum(fids) / seeds - truth) <= margin(seeds_error(fids), seeds - 1)
        for fids in found
    ]
    low, high = stats.binom(150, 0.95).ppf([0.001, 0.999]) / 150
    assert low <= sum(covered) / len(covered) <= high


def test_of_seeds_it_is_the_textbook_standard_error_of_their_mean() -> None:
    assert seeds_error([1.0, 2.0, 4.0, 5.0]) == pytest.approx(stats.sem([1, 2, 4, 5]), rel=1e-12)
    assert seeds_error([2.0, 2.0]) == 0.0


def test_the_plain_bootstraps_interval_misses_the_figure_itself() -> None:
    generator = torch.Generator().manual_seed(3)
    real = feature_statistics(torch.cat([features(generator, 32) for _ in range(40)]))
    statistic = fid_to(real, features(generator, 32))
    resampled = sorted(
        statistic(torch.randint(0, COUNT, (COUNT,), generator=generator)) for _ in range(100)
    )
    figure = statistic(torch.ones(COUNT, dtype=torch.bool))
    assert resampled[2] > figure  # the lower end of its 95 % interval


def test_unbalanced_groups_are_seen_as_noise(reference: Statistics) -> None:
    """Groups of one class each: leaving one out changes the mixture, not only the noise."""
    rows = features(torch.Generator().manual_seed(4))
    _, balanced = with_leave_outs(fid_to(reference, rows), stratified_groups(LABELS), COUNT)
    _, by_class = with_leave_outs(fid_to(reference, rows), LABELS, COUNT)
    assert balanced is not None
    assert by_class is not None
    assert by_class > 3 * balanced


def test_margins_and_their_words() -> None:
    assert margin(0.5, 9) == pytest.approx(0.5 * stats.t(9).ppf(0.975), rel=1e-12)
    assert margin(0.5, 2) == pytest.approx(0.5 * stats.t(2).ppf(0.975), rel=1e-12)
    assert math.isnan(margin(None, 9))
    assert with_margin(1.3912, 0.0905) == "1.39 ± 0.09"
    assert with_margin(0.04512, 0.0022) == "0.045 ± 0.002"
    assert with_margin(1.3912, math.nan) == "1.39"
    assert with_margin(1.3912, 0.0002) == "1.39 ± 0.0002"  # never none at all
    near = {"fid": 1.0, "fid_se": 0.1, "se_dof": 9}
    assert not apart(near, near | {"fid": 1.2})  # 0.2 against 2.26 x 0.141
    assert apart(near, near | {"fid": 1.4})
    assert not apart(near, {"fid": 1.4, "fid_se": 0.1, "se_dof": 2})  # 4.30 x 0.1 alone is more
    assert not apart(near, {"fid": 9.0, "fid_se": None, "se_dof": 9})
