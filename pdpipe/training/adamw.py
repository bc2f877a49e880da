"""AdamW by torch's function `adamw`, not its class.

The class, like each of torch's optimisers, imports torch's compiler when it is made: a second in
every training stage, of which there is one for each rung. The function does not, and the class's
steps are its.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.adamw import adamw


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), fused.

    It steps as `torch.optim.AdamW` does, bit for bit. The learning rate comes with each step.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, betas: tuple[float, float], weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.betas, self.weight_decay = betas, weight_decay
        self.mean = [torch.zeros_like(p) for p in self.parameters]  # of the gradients
        self.mean_square = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    def zero_grad(self) -> None:
        """Let the gradients go."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move the parameters by their gradients; one without a gradient stays as it is."""
        states = zip(self.parameters, self.mean, self.mean_square, self.steps, strict=True)
        rows = [(p, p.grad, *state) for p, *state in states if p.grad is not None]
        parameters, gradients, mean, mean_square, steps = map(list, zip(*rows, strict=True))
        adamw(
            parameters,
            gradients,
            mean,
            mean_square,
            [],
            steps,
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=learning_rate,
            weight_decay=self.weight_decay,
            eps=1e-8,
        )

    def state_dict(self) -> dict[str, Any]:
        """Tensors only."""
        return {"mean": self.mean, "mean_square": self.mean_square, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the state of another of the same parameters."""
        for name, mine in self.state_dict().items():
            for tensor, saved in zip(mine, state[name], strict=True):
                tensor.copy_(saved)
