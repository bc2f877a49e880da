"""Times as ranges, and the timing of work that comes in batches of any size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from pdpipe.bench.setting import seconds
from pdpipe.errors import ParamsError

LEAST_TIMINGS = 3


@dataclass(frozen=True)
class Seconds:
    """A time: the middle one of a few timings, between the fastest and the slowest of them."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, times: Iterable[float]) -> Seconds:
        """The range of some timings."""
        taken = list(times)
        return cls(min(taken), statistics.median(taken), max(taken))

    def __add__(self, other: Seconds) -> Seconds:
        """Both, one after the other."""
        return Seconds(self.low + other.low, self.middle + other.middle, self.high + other.high)

    def __mul__(self, times: float) -> Seconds:
        """As often, `times` >= 0."""
        return Seconds(self.low * times, self.middle * times, self.high * times)


ZERO = Seconds(0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Seconds an image of some batched work, and the batch at which they were taken."""

    per_image: Seconds
    batch: int
    wanted: int  # the batch of the real work
    timings: int = LEAST_TIMINGS
    out_of_memory: int | None = None  # a batch that was tried and did not fit

    @property
    def scaled(self) -> bool:
        """Whether a smaller batch than the real one was timed."""
        return self.batch < self.wanted


def time_batches(
    work: Callable[[int], object], wanted: int, device: torch.device, budget: float, name: str
) -> Rate:
    """Time `work(batch)` for about `budget` seconds, at `wanted` images or as many as it allows.

    The batch doubles from 2, which also warms up, until a call takes half of the budget or does
    not fit into the device's memory. Small batches cost as much as larger ones, so the doubling
    goes far, and one hiccup does not stop it: the quicker of two calls counts. Where a single
    call takes the whole budget, it is the only timing.

    Raises:
        ParamsError: not even the first batch fits; `name` says of what.
    """
    started = time.monotonic()
    batch, out_of_memory = min(2, wanted), None

    def calls(size: int) -> list[float]:
        first = seconds(lambda: work(size), device)
        return [first] if first > budget else [first, seconds(lambda: work(size), device)]

    try:
        taken = calls(batch)
    except torch.OutOfMemoryError:
        raise ParamsError(
            f"{name}: {batch} images do not fit into the memory of {device}: make the network "
            "smaller, or forecast on another machine"
        ) from None
    while batch < wanted and min(taken) <= budget / 2:
        larger = min(2 * batch, wanted)
        try:
            taken = calls(larger)
        except torch.OutOfMemoryError:
            out_of_memory = larger
            break
        batch = larger
    times = taken[1:] or taken  # the first warms up
    while time.monotonic() - started + times[-1] < budget or (
        len(times) < LEAST_TIMINGS and sum(times) < budget
    ):
        times.append(seconds(lambda: work(batch), device))
    return Rate(
        per_image=Seconds.of(taken / batch for taken in times),
        batch=batch,
        wanted=wanted,
        timings=len(times),
        out_of_memory=out_of_memory,
    )
