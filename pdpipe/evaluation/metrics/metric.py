"""What a metric is, said once: its names, how to read it, and how it is computed with its error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Images:
    """What a metric sees of some images."""

    features: Tensor  # (n, D)
    logits: Tensor  # (n, K)
    labels: Tensor  # (n,) int64; zeros for images without classes
    groups: Tensor | None = None  # the jackknife group of each, (n,); None: no errors are wanted


@dataclass(frozen=True, kw_only=True, eq=False)
class Real:
    """What a metric sees of the images to compare with, as a rule the training images."""

    train_features: Tensor  # (n, D) float32
    state: Mapping[str, Mapping[str, Tensor]]  # by metric: what it needs of them

    @property
    def num_train(self) -> int:
        """The number of these images."""
        return len(self.train_features)

    @property
    def num_heldout(self) -> int:
        """The number of real images that were held out."""
        return 0


Figure = tuple[float | None, float | None]
"""A value and its standard error; None where there are too few images for it."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number of images against the training images.

    Its file imports torch, and what uses torch, within its functions: reports and comparisons read
    the words alone.
    """

    key: str  # of its field in records and of its column in tables; its error's ends in _se
    name: str  # in reports
    means: str  # what it is, in a line
    better: Literal["lower", "higher"]
    measure: Callable[[Images, Real], Figure]
    # What it needs of the real side: computed once, kept in the reference as `state[key]`.
    of_real: Callable[[Images], Mapping[str, Tensor]] | None = None
    least: float | None = None
    most: float | None = None
    decimals: Literal[2, 4] = 2
    against_steps: bool = False  # whether it has a column in the tables of steps
    note: str = ""  # beside its table
    of_heldout: bool = False  # whether it looks at how many are held out: not for any two sets
    new: bool = False  # files of earlier versions lack it, and are read without
