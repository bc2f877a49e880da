"""The metrics: one file for each, and one line in `pdpipe/registry.py`.

All look at the output of one extractor; all but IS compare its features with the training images'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from pdpipe import registry
from pdpipe.evaluation.metrics.metric import Figure, Images, Metric, Real

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AGAINST_STEPS", "METRICS", "Figure", "Images", "Metric", "Real", "of_real"]


def _metric(key: str, module: str) -> Metric:
    found: Metric = import_module(module).METRIC
    assert found.key == key
    return found


METRICS = {key: _metric(key, module) for key, module in registry.METRICS.items()}
AGAINST_STEPS = [metric for metric in METRICS.values() if metric.against_steps]


def of_real(
    images: Images, metrics: Iterable[Metric] = tuple(METRICS.values())
) -> dict[str, Mapping[str, Tensor]]:
    """`Real.state` of some images, as far as these metrics need it."""
    return {m.key: m.of_real(images) for m in metrics if m.of_real is not None}
