"""Precision and recall: against torch-fidelity, and their standard errors against simulation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation.fidelity import torch_fidelity
from pdpipe.evaluation.intervals import jackknife, stratified_groups
from pdpipe.evaluation.manifold import precision, radii, recall


def normal(count: int, width: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(5, 80),
    m=st.integers(5, 80),
    scale=st.floats(0.3, 2.0),
    grouped=st.booleans(),
)
def test_they_are_what_torch_fidelity_computes(n: int, m: int, scale: float, grouped: bool) -> None:
    fake, real = normal(n, 6, n, scale), normal(m, 6, m + 1000)
    expected = torch_fidelity("metric_prc").prc_features_to_metric(fake, real, verbose=False)
    groups = stratified_groups(torch.zeros(n, dtype=torch.int64)) if grouped else None
    found = precision(fake, real, radii(real), groups)[0], recall(fake, real, groups)[0]
    assert found == pytest.approx((expected["precision"], expected["recall"]), rel=1e-6)


def test_their_standard_errors_are_the_jackknifes() -> None:
    fake, real = normal(73, 5, 0, 0.8), normal(60, 5, 1)
    groups = stratified_groups(torch.zeros(73, dtype=torch.int64))
    assert groups is not None
    for name, of in (
        ("precision", lambda rows, g: precision(rows, real, radii(real), g)),
        ("recall", lambda rows, g: recall(rows, real, g)),
    ):
        without = [of(fake[groups != g], None)[0] for g in range(10)]
        assert of(fake, groups)[1] == pytest.approx(jackknife(without), rel=1e-9), name


def test_their_standard_errors_are_not_too_small() -> None:
    """Over many draws: right for precision, too wide by up to a half or so for recall."""
    real, groups = normal(200, 8, 999), stratified_groups(torch.zeros(200, dtype=torch.int64))
    balls = radii(real)
    draws = [normal(200, 8, seed, 0.9) for seed in range(80)]
    for found, most in (
        ([precision(fake, real, balls, groups) for fake in draws], 1.35),
        ([recall(fake, real, groups) for fake in draws], 2.0),
    ):
        values, errors = torch.tensor(found, dtype=torch.float64).T
        ratio = float(errors.square().mean().sqrt() / values.std())
        assert 0.75 < ratio < most


@pytest.mark.parametrize("chunk", [1, 13])
def test_the_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = normal(50, 5, 0), normal(40, 5, 1)
    groups = stratified_groups(torch.zeros(50, dtype=torch.int64))
    expected = precision(fake, real, radii(real), groups), recall(fake, real, groups)
    monkeypatch.setattr("pdpipe.evaluation.manifold._BLOCK", chunk)
    assert (precision(fake, real, radii(real), groups), recall(fake, real, groups)) == expected


def test_few_images_have_no_third_neighbour() -> None:
    few = normal(3, 5, 0)
    for call in (lambda: radii(few), lambda: recall(few, normal(9, 5, 1), None)):
        with pytest.raises(EvaluationError, match="more than 3 images on each side, got 3: raise"):
            call()
