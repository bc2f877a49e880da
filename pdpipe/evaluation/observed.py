"""What is kept of images: a few numbers each, so that any number of them fits in memory."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Observed:
    """What is known of n images, in their order."""

    features: Tensor  # (n, D) float32
    logits: Tensor  # (n, K) float32
    labels: Tensor  # (n,) int64; zeros for images without classes
    right: Tensor  # (n,) bool: the judge sees the label; empty for images without classes
    distances: Tensor  # float64, of the first images, each to the nearest training image

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Observed:
        """From its tensors by name; further ones are left aside."""
        return cls(**{f.name: tensors[f.name] for f in fields(cls)})

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, to be stored."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def accuracy(self) -> float | None:
        """The share of the images whose label the judge sees; None without classes."""
        return float(self.right.double().mean()) if len(self.right) else None
