"""Jobs in a temporary folder, and the settings of a short run."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pdpipe.plan import Optimization
from pdpipe.training.job import Job

MakeJob = Callable[..., Job]
HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))


@pytest.fixture(scope="session")
def make_job_in() -> MakeJob:
    """A job in a given folder; see stages_of_training.py."""
    return HELPERS["make_job"]


@pytest.fixture(scope="session")
def run_stage() -> Callable[..., Any]:
    """A real stage; see stages_of_training.py."""
    return HELPERS["run_stage"]


@pytest.fixture
def make_job(make_job_in: MakeJob, tmp_path: Path) -> MakeJob:
    """A job in the test's folder; without a `snapshot_seconds` it makes no snapshots."""
    return partial(make_job_in, tmp_path)


@pytest.fixture
def settings() -> Callable[..., Optimization]:
    """Optimiser settings of a short run, with the given ones changed."""

    def make(**changes: Any) -> Optimization:
        values: dict[str, Any] = {
            "updates": 30,
            "batch_size": 6,
            "learning_rate": 0.01,
            "warmup": 3,
            "anneal": 0.5,
            "betas": (0.9, 0.99),
            "weight_decay": 0.02,
            "grad_clip": 0.5,
            "ema_decay": 0.8,
        }
        return Optimization(**(values | changes))

    return make
