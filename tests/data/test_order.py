from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdpipe.data import batch_indices
from pdpipe.data.order import Purpose, permutation

COUNTS = st.integers(1, 40)
SIZES = st.integers(1, 90)  # larger than an epoch, too
SEEDS = st.integers(0, 2**70)


def stream(length: int, count: int, batch_size: int, seed: int) -> torch.Tensor:
    """The first `length` indices that training sees."""
    steps = range(-(-length // batch_size))
    batches = [batch_indices(s, count=count, batch_size=batch_size, seed=seed) for s in steps]
    return torch.cat(batches)[:length]


@given(count=COUNTS, batch_size=SIZES, seed=SEEDS)
def test_every_epoch_is_a_permutation(count, batch_size, seed):
    epochs = stream(3 * count, count, batch_size, seed).view(3, count)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(count).expand(3, count))


@given(count=COUNTS, one=SIZES, other=SIZES, seed=SEEDS)
def test_the_stream_does_not_depend_on_the_batch_size(count, one, other, seed):
    length = 2 * max(count, one, other)
    assert torch.equal(stream(length, count, one, seed), stream(length, count, other, seed))


@given(count=COUNTS, batch_size=SIZES, seed=SEEDS, steps=st.lists(st.integers(0, 30), max_size=9))
def test_a_step_does_not_depend_on_the_steps_before_it(count, batch_size, seed, steps):
    unbroken = stream(31 * batch_size, count, batch_size, seed).view(31, batch_size)
    for step in steps:
        resumed = batch_indices(step, count=count, batch_size=batch_size, seed=seed)
        assert torch.equal(resumed, unbroken[step])


def test_a_batch_crosses_epochs():
    epochs = stream(20, count=10, batch_size=10, seed=3)
    crossing = batch_indices(1, count=10, batch_size=7, seed=3)
    assert crossing.dtype == torch.int64
    assert torch.equal(crossing, epochs[7:14])


def test_epochs_and_seeds_differ():
    epochs = [
        tuple(batch_indices(step, count=50, batch_size=50, seed=seed).tolist())
        for seed in (0, 1, 2**32)
        for step in range(3)
    ]
    assert len(set(epochs)) == 9


def test_purposes_and_items_are_independent():
    orders = [tuple(permutation(50, 0, purpose, item)) for purpose in Purpose for item in range(3)]
    assert len(set(orders)) == len(orders)


def test_positions_are_uniform():
    """Each image is equally often at each place: chi-square of 5 x 5 counts, 16 degrees."""
    epochs = np.stack([permutation(5, 1, Purpose.EPOCHS, epoch) for epoch in range(2000)])
    counts = np.stack([np.bincount(column, minlength=5) for column in epochs.T])
    assert ((counts - 400) ** 2 / 400).sum() < 45  # p = 1e-4


def test_changing_a_batch_leaves_the_order_alone():
    first = batch_indices(0, count=10, batch_size=5, seed=0)
    kept = first.clone()
    first.zero_()
    assert torch.equal(batch_indices(0, count=10, batch_size=5, seed=0), kept)


def test_the_order_is_the_same_on_every_machine_and_version():
    """A resume, or a second machine, must find the same order: these values never change."""
    found = batch_indices(0, count=10, batch_size=10, seed=0)
    assert found.tolist() == [2, 5, 8, 9, 3, 1, 0, 7, 6, 4]


@pytest.mark.parametrize("bad", [{"step": -1}, {"count": 0}, {"batch_size": 0}])
def test_numbers_that_make_no_sense_are_our_own_bugs(bad):
    with pytest.raises(AssertionError):
        batch_indices(**({"step": 0, "count": 5, "batch_size": 2, "seed": 0} | bad))
