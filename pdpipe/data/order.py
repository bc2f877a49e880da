"""Random orders that depend on numbers only: the same on every machine, at every resume."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Purpose(IntEnum):
    """What an order is for; different purposes draw independent orders from one seed."""

    HELDOUT = 0  # which images of a class are held out
    SHARDS = 1  # the order of a split in its shards
    EPOCHS = 2  # the order of an epoch of training


def permutation(count: int, seed: int, purpose: Purpose, item: int) -> NDArray[np.int64]:
    """A random order of 0 .. count - 1, int64 (count,), fixed by (seed, purpose, item).

    It sorts raw Philox words, whose stream NumPy keeps from version to version, which it does not
    promise of `Generator.permutation`.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(purpose, item))
    words = np.random.Philox(stream).random_raw(count)
    return np.argsort(words, kind="stable")


@lru_cache(maxsize=2)  # a batch that crosses epochs needs two
def _epoch(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return permutation(count, seed, Purpose.EPOCHS, epoch)


def batch_indices(step: int, *, count: int, batch_size: int, seed: int) -> Tensor:
    """The images of training step `step`, int64 (batch_size,), each in 0 .. count - 1.

    One endless stream is the epochs' permutations end to end, permutation e drawn from (seed, e);
    step s takes its positions s * batch_size to (s + 1) * batch_size - 1. Every image is seen once
    an epoch, and a resume at any step needs no loader state.

    Args:
        step: from 0.
        count: images in the training split.
        batch_size: images a step; may exceed `count`.
        seed: of the run, 0 or more.
    """
    assert min(step, count - 1, batch_size - 1) >= 0, (step, count, batch_size)
    start, stop = step * batch_size, (step + 1) * batch_size
    parts = []
    for epoch in range(start // count, (stop - 1) // count + 1):
        first, last = max(start - epoch * count, 0), min(stop - epoch * count, count)
        parts.append(_epoch(count, seed, epoch)[first:last])
    return torch.from_numpy(np.concatenate(parts))  # a copy: the cached epoch stays as it is
