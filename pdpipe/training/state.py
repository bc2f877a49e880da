"""Everything that changes while training."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pdpipe.training.adamw import AdamW
from pdpipe.training.job import Optimization

Network = TypeVar("Network", bound=nn.Module)


class TrainState(Generic[Network]):
    """Everything that changes while training: network, its average, optimiser, step, seconds."""

    def __init__(
        self,
        network: Network,
        optimization: Optimization,
        device: torch.device,
        compile_network: bool = False,
    ) -> None:
        self.network = network.to(device).train()
        average = get_ema_multi_avg_fn(optimization.ema_decay)  # type: ignore[no-untyped-call]
        self.ema = AveragedModel(self.network, multi_avg_fn=average)
        self.optimizer = AdamW(
            self.network.parameters(),
            betas=optimization.betas,
            weight_decay=optimization.weight_decay,
        )
        if compile_network:
            self.network.compile()
        self.step = 0  # updates done
        self.seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same run."""
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def averaged(self) -> Network:
        """A copy of the network with the averaged weights, in evaluation mode."""
        network: Network = copy.deepcopy(self.ema.module)  # type: ignore[assignment]
        return network.eval().requires_grad_(False)
