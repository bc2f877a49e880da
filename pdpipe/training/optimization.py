"""From a section of params.yaml to the settings of the loop."""

from __future__ import annotations

from pdpipe.params import OptimizerParams
from pdpipe.training.job import Optimization


def optimization(section: OptimizerParams, updates: int, learning_rate: float) -> Optimization:
    """The optimiser settings of a stage; a rung has updates and learning rate of its own."""
    return Optimization(
        updates=updates,
        batch_size=section.batch_size,
        learning_rate=learning_rate,
        warmup=section.warmup,
        anneal=section.anneal,
        betas=(section.betas[0], section.betas[1]),
        weight_decay=section.weight_decay,
        grad_clip=section.grad_clip,
        ema_decay=section.ema_decay,
    )
