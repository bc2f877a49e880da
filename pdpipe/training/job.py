"""What a training run is given besides its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pdpipe.params import RuntimeParams
from pdpipe.tracking import Tracker
from pdpipe.training.snapshots import Snapshots


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage's run: name, identity, device, and where snapshots and metrics go."""

    stage: str  # e.g. student-4
    seed: int
    key: str  # digest of everything that determines the result
    snapshots_dir: Path
    runtime: RuntimeParams
    device: torch.device
    tracker: Tracker
    autocast: Callable[[], Any] = field(repr=False)
    precision: str = "float32"  # of `autocast`

    @property
    def snapshots(self) -> Snapshots:
        """Where its snapshots are."""
        return Snapshots(self.snapshots_dir, self.stage, self.key)
