"""Everything that changes while training."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pdpipe.plan import Plan, StatefulObjective
from pdpipe.training.adamw import AdamW


class TrainState:
    """Everything that changes while training: network, its average, optimiser, step, seconds.

    And, if the objective has a state of its own, that.
    """

    def __init__(self, plan: Plan, device: torch.device, compile_network: bool = False) -> None:
        self.objective, self.optimization = plan.objective, plan.optimization
        self.network = plan.network.to(device).train()
        average = get_ema_multi_avg_fn(plan.optimization.ema_decay)  # type: ignore[no-untyped-call]
        self.ema = AveragedModel(self.network, multi_avg_fn=average)
        self.optimizer = AdamW(
            self.network.parameters(),
            betas=plan.optimization.betas,
            weight_decay=plan.optimization.weight_decay,
        )
        if compile_network:
            self.network.compile()
        self.step = 0  # updates done
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        own = self.objective
        return {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "objective": own.state_dict() if isinstance(own, StatefulObjective) else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same run."""
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.objective, StatefulObjective):
            self.objective.load_state_dict(state["objective"])
        self.step, self.seconds = state["step"], state["seconds"]

    def averaged(self) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network = copy.deepcopy(self.ema.module)
        return network.eval().requires_grad_(False)
