"""FID at the held-out count: its sets, its value and its error, computed another way."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torch import Tensor

from pdpipe.evaluation.metrics import Images
from pdpipe.evaluation.metrics.fid_heldout import class_by_class, measure

WIDTH, HELD = 4, 40


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """The distance by scipy's matrix square root."""
    sigma_a, sigma_b = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(sigma_a @ sigma_b).real
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(sigma_a + sigma_b - 2 * root))


def reference(train: Tensor) -> Any:
    state = {"fid": {"mu": train.double().mean(0), "sigma": train.double().T.cov()}}
    return SimpleNamespace(num_heldout=HELD, num_train=len(train), state=state)


def images(count: int) -> Images:
    g = torch.Generator().manual_seed(count)
    features = torch.randn(count, WIDTH, generator=g)
    labels = torch.arange(count) * 4 // count  # blocks of four classes
    return Images(features=features, logits=features, labels=labels)


@pytest.fixture
def train() -> Tensor:
    return torch.randn(300, WIDTH, generator=torch.Generator().manual_seed(0)) + 0.3


def test_it_is_the_mean_over_sets_of_the_held_out_count(train: Tensor) -> None:
    own = images(3 * HELD + 7)
    rows = class_by_class(own.labels).numpy()
    sets = [rows[k * HELD : (k + 1) * HELD] for k in range(3)]
    fids = [frechet(own.features.double().numpy()[s], train.double().numpy()) for s in sets]
    value, error = measure(own, reference(train))
    assert value == pytest.approx(np.mean(fids), rel=1e-6)
    assert error is not None
    # its 95 % interval, read with the jackknife's 9 degrees of freedom, is that of 3 figures
    half = stats.t(2).ppf(0.975) * np.std(fids, ddof=1) / np.sqrt(3)
    assert stats.t(9).ppf(0.975) * error == pytest.approx(half, rel=1e-6)


def test_every_set_is_balanced_as_the_whole_is() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 30)
    rows = class_by_class(labels)
    assert sorted(rows.tolist()) == [*range(120)]
    for part in labels[rows].split(20):
        assert part.bincount(minlength=3).tolist() == [10, 5, 5]


def test_too_few_images_have_none(train: Tensor) -> None:
    assert measure(images(HELD - 1), reference(train)) == (None, None)
    assert measure(images(2 * HELD - 1), reference(train)) == (None, None)
    assert measure(images(HELD), reference(train))[0] is not None
