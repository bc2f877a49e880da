"""FID and inception score by torch-fidelity's own functions, on plain tensors, in float64.

Features stay in float32: what is computed of them is held in float64 a block of rows at a time.

The only module that imports torch_fidelity, and only when a function is called.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdpipe.errors import EvaluationError
from pdpipe.evaluation._torchvision import import_torchvision

_ROWS = 2048  # held in float64 at once


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and covariance of a set of features: all that FID needs of it."""

    mu: Tensor  # (D,) float64
    sigma: Tensor  # (D, D) float64, normalised by count - 1
    count: int


def feature_statistics(
    features: Tensor, *, kept: Tensor | None = None, of: str = "the features"
) -> Statistics:
    """Mean and covariance of `features` (n, D), in float64 whatever their dtype.

    Args:
        features: one row a sample; the order of the rows does not matter.
        kept: which of the rows, (n,) bool; all without it.
        of: what they are of, for the error messages.

    Raises:
        EvaluationError: fewer than 2 rows, not floating point, or not finite.
    """
    _check_rows(features, of)
    rows = torch.arange(len(features)) if kept is None else kept.nonzero().flatten()
    if len(rows) < 2:
        raise EvaluationError(
            f"{of}: FID needs the covariance of at least 2 samples, got {len(rows)}: "
            "evaluate more images"
        )
    blocks = torch.split(rows, _ROWS)
    width = features.shape[1]
    mu = torch.zeros(width, dtype=torch.float64)
    for block in blocks:
        mu += _rows_of(features, block).sum(dim=0)
    mu /= len(rows)
    sigma = torch.zeros(width, width, dtype=torch.float64)
    for block in blocks:
        centred = _rows_of(features, block) - mu
        sigma += centred.T @ centred
    sigma /= len(rows) - 1
    if not (mu.isfinite().all() and sigma.isfinite().all()):
        raise EvaluationError(f"{of}: too large for a covariance; check the extractor's training")
    return Statistics(mu, sigma, len(rows))


def fid(a: Statistics, b: Statistics) -> float:
    """The Fréchet distance of the Gaussians of two sets of features; symmetric, never below 0.

    `|mu_a - mu_b|² + tr(sigma_a + sigma_b - 2 (sigma_a sigma_b)^(1/2))` (Heusel et al. 2017). The
    square root is of the eigenvalues of a product that is not symmetric: where covariances are
    singular (n <= D, dead features), the last digits from about 1e-6 are rounding.

    Raises:
        EvaluationError: the features have different widths, or the distance is not finite.
    """
    if a.mu.shape != b.mu.shape:
        raise EvaluationError(
            f"FID needs features of one extractor on both sides, got {len(a.mu)} and {len(b.mu)} "
            "features a sample: compute both sides with the same extractor"
        )
    sides = [
        {"mu": side.mu.double().numpy(), "sigma": side.sigma.double().numpy()} for side in (a, b)
    ]
    module = torch_fidelity("metric_fid")
    try:
        with np.errstate(all="ignore"):
            found = module.fid_statistics_to_metric(*sides, verbose=False)
        value = float(found[module.KEY_METRIC_FID])
    except np.linalg.LinAlgError:
        value = math.nan
    if not math.isfinite(value):
        raise EvaluationError(
            "FID is not finite: the features are too large or broken; check the extractor's "
            "training, then run the reference stage again"
        )
    return max(value, 0.0)  # of equal sets, rounding leaves some -1e-13


def inception_score(
    logits: Tensor, *, kept: Tensor | None = None, splits: int = 1, seed: int = 2020
) -> float:
    """The inception score of a classifier's `logits` (n, K): from 1 to K; the mean over splits.

    `exp E KL(p(y|x) || p(y))` (Salimans et al. 2016). The papers' 10 splits are meant for 50,000
    samples. p(y) is estimated within each split, which lowers the score where splits are small
    (real digits: by 2 % at 1,500 samples, by 13 % at 270), and the shuffling undoes the balance of
    the labels. One split, the default, has neither fault, so that sets of different sizes compare.
    Give `splits=10` with 50,000 samples to compare with published figures.

    Args:
        logits: before the softmax; with one split the order of the rows does not matter.
        kept: which of the rows, (n,) bool; all without it.
        splits: parts that are scored apart, after shuffling.
        seed: of the shuffling; unused with one split.

    Raises:
        EvaluationError: fewer than 2 samples a split, not floating point, or not finite.
    """
    _check_rows(logits, "the logits")
    rows = torch.arange(len(logits)) if kept is None else kept.nonzero().flatten()
    if splits < 1 or len(rows) < 2 * splits:
        raise EvaluationError(
            f"the inception score needs at least 2 samples in each of {splits} splits, got "
            f"{len(rows)} samples: evaluate more images or take fewer splits"
        )
    module = torch_fidelity("metric_isc")
    if splits > 1:  # as torch-fidelity shuffles; but a split at a time, which takes less memory
        rows = rows[torch.from_numpy(np.random.RandomState(seed).permutation(len(rows)))]
    bounds = [split * len(rows) // splits for split in range(splits + 1)]
    scores = [
        module.isc_features_to_metric(_rows_of(logits, rows[start:end]), 1, False)
        for start, end in pairwise(bounds)
    ]
    value = math.fsum(score[module.KEY_METRIC_ISC_MEAN] for score in scores) / splits
    if not math.isfinite(value):
        raise EvaluationError(
            "the inception score is not finite: the logits are too large; check the extractor's "
            "training"
        )
    return value


def inception_score_splits(count: int) -> int:
    """The splits of the inception score of `count` images: the papers' 10 where they fit, else 1.

    With 50,000 images a split has the 5,000 of the published figures.
    """
    return 10 if count >= 50_000 else 1


def _rows_of(matrix: Tensor, rows: Tensor) -> Tensor:
    """Some rows of a matrix, in float64 and in main memory."""
    return matrix[rows.to(matrix.device)].detach().cpu().double()


def _check_rows(rows: Tensor, of: str) -> None:
    """Raise `EvaluationError` unless `rows` is a finite floating-point matrix."""
    if rows.ndim != 2 or not rows.is_floating_point():
        raise EvaluationError(
            f"{of}: expected a floating-point matrix (samples, features), got "
            f"{rows.dtype} of shape {tuple(rows.shape)}: pass what extract_features returns"
        )
    broken = sum(
        int((~part.isfinite()).any(dim=1).sum()) for part in torch.split(rows.detach(), _ROWS)
    )
    if broken:
        raise EvaluationError(
            f"{of}: {broken} of {len(rows)} samples have features that are not finite: check "
            "the images and the extractor"
        )


def torch_fidelity(module: str) -> Any:
    """A module of torch-fidelity."""
    try:
        import_torchvision()
        return importlib.import_module(f"torch_fidelity.{module}")
    except (ImportError, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise EvaluationError(
            f"torch-fidelity cannot be imported ({detail}): reinstall torch, torchvision and "
            "torch-fidelity together, `pip install --force-reinstall -e .`"
        ) from None
