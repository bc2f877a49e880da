"""The learning rate of every update, and where the settings come from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pdpipe.params import Params
from pdpipe.plan import Optimization, Work

Settings = Callable[..., Optimization]


def test_rise_plateau_fall(settings: Settings) -> None:
    o = settings(updates=10, learning_rate=1.0, warmup=3, anneal=0.5)
    expected = [1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5]
    assert [o.rate(step) for step in range(10)] == pytest.approx(expected)


def test_linear_to_zero_without_warm_up_is_the_papers(settings: Settings) -> None:
    """Each halving: from 1e-4, linearly; the update after the last would have rate 0."""
    o = settings(updates=50_000, learning_rate=1e-4, warmup=0, anneal=1.0)
    assert o.rate(0) == 1e-4
    assert o.rate(25_000) == pytest.approx(0.5e-4)
    assert o.rate(49_999) == pytest.approx(1e-4 / 50_000)
    assert o.rate(50_000) == 0


def test_constant(settings: Settings) -> None:
    o = settings(updates=10, learning_rate=0.3, warmup=0, anneal=0.0)
    assert {o.rate(step) for step in range(10)} == {0.3}


def test_one_update(settings: Settings) -> None:
    assert settings(updates=1, learning_rate=1.0, warmup=0, anneal=1.0).rate(0) == 1.0


def test_a_rung_brings_its_updates_and_rate(tiny_params: Params) -> None:
    rung = tiny_params.ladder["2"]
    found = Optimization.of(tiny_params.halve, rung.updates, rung.learning_rate)
    expected = tiny_params.halve.model_dump(exclude={"loss_weight"})
    expected |= {"updates": 30, "learning_rate": 1e-3, "betas": tuple(expected["betas"])}
    assert vars(found) == expected


def test_images_seen() -> None:
    work = Work(updates=7, batch_size=5, forwards=2)
    assert (work.images_seen, work.network_evaluations) == (35, 70)
