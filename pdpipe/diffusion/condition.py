"""What stands beside z_t when a network is asked for its prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """What a prediction is conditioned on besides the time; every tensor has the batch first.

    A network uses what it knows of it and ignores the rest, so that one condition serves a teacher,
    which takes no w, and its student, which does.

    Examples:
        >>> from pdpipe.diffusion import Condition
        >>> given = Condition(label=torch.tensor([3, 7])).at(torch.tensor([0.0, 1.0]))
        >>> given.w
        tensor([0., 1.])
    """

    label: Tensor | None = None  # class indices, (B,), int64
    w: Tensor | None = None  # guidance weights, (B,)
    extra: Mapping[str, Tensor] = field(default_factory=dict)  # by the names of the network's own

    def to(self, device: torch.device | str) -> Condition:
        """The same on another device."""
        return self._combined(lambda tensor: tensor.to(device))

    def at(self, w: Tensor) -> Condition:
        """The same at other guidance weights, (B,)."""
        return replace(self, w=w)

    def then(self, other: Condition) -> Condition:
        """The rows of both, (2B,) where each has B; raises KeyError if one has what one lacks."""
        return self._combined(lambda first, second: torch.cat([first, second]), other)

    def replaced(self, rows: Tensor, other: Condition) -> Condition:
        """Where `rows` (B,), bool, is true, the rows of `other`; KeyError as in `then`."""

        def choose(own: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(rows.view(-1, *[1] * (own.dim() - 1)), theirs, own)

        return self._combined(choose, other)

    def _combined(self, change: Callable[..., Tensor], *others: Condition) -> Condition:
        """Each tensor changed, together with those of the same name in other conditions."""
        own, theirs = self._named(), [other._named() for other in others]
        for names in theirs:
            if names.keys() != own.keys():
                raise KeyError(f"one condition has {sorted(own)}, the other {sorted(names)}")
        found = {
            name: change(tensor, *(names[name] for names in theirs)) for name, tensor in own.items()
        }
        return Condition(found.pop("label", None), found.pop("w", None), found)

    def _named(self) -> dict[str, Tensor]:
        named = {"label": self.label, "w": self.w, **self.extra}
        return {name: tensor for name, tensor in named.items() if tensor is not None}
