"""The metrics: one file for each, and one line in `pdpipe/registry.py`.

All look at the output of one extractor; all but IS compare its features with the training images'.
"""

from __future__ import annotations

from importlib import import_module

from pdpipe import registry
from pdpipe.evaluation.metrics.metric import Figure, Images, Metric

__all__ = ["AGAINST_STEPS", "METRICS", "Figure", "Images", "Metric"]


def _metric(key: str, module: str) -> Metric:
    found: Metric = import_module(module).METRIC
    assert found.key == key
    return found


METRICS = {key: _metric(key, module) for key, module in registry.METRICS.items()}
AGAINST_STEPS = [metric for metric in METRICS.values() if metric.against_steps]
