"""What a training writes so that its stage's next run can go on with it, or take it as it is."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from pdpipe.training.job import Job
from pdpipe.training.state import TrainState


def _conditions(job: Job) -> dict[str, str]:
    """What must be unchanged for a resumed run to have the same bits."""
    return {
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "device": str(job.device),
        "precision": job.precision,
        "compile": str(job.runtime.compile),
    }


def save_snapshot(job: Job, state: TrainState) -> None:
    """Write the snapshot, then hand over the metrics logged up to it."""
    saved = {
        **state.state_dict(),
        "tracker": job.tracker.state_dict(),
        "conditions": _conditions(job),
    }
    job.snapshots.save(saved)
    job.tracker.publish()


def save_finished(job: Job, state: TrainState) -> None:
    """Keep the averaged weights, and hand over the last metrics."""
    about = {"seconds": state.seconds, "tracker": job.tracker.state_dict()}
    job.snapshots.save_finished(state.ema.module.state_dict(), about)
    job.tracker.publish()


def resume(job: Job, state: TrainState) -> None:
    """Go on from the last snapshot, if there is one, and say so."""
    saved = job.snapshots.load()
    if saved is None:
        return
    state.load_state_dict(saved)
    job.tracker.load_state_dict(saved["tracker"])
    print(f"{job.stage}: going on from update {state.step}", file=sys.stderr)
    now = _conditions(job)
    changed = [f"{k} {v} -> {now[k]}" for k, v in saved["conditions"].items() if v != now.get(k)]
    if changed:
        print(
            f"{job.stage}: since the snapshot, {', '.join(changed)} changed: the result will be as "
            "good, but not bit-identical to an unbroken run",
            file=sys.stderr,
        )


def take_finished(
    job: Job, network: nn.Module, weights: dict[str, torch.Tensor], about: dict[str, Any]
) -> tuple[nn.Module, float]:
    """What `train` returned in an earlier run, whose result was not recorded; says so."""
    network.load_state_dict(weights)
    job.tracker.load_state_dict(about["tracker"])
    print(
        f"{job.stage}: already trained, taken from {job.snapshots.folder} (delete that to train it "
        "again)",
        file=sys.stderr,
    )
    return network.to(job.device).eval().requires_grad_(False), about["seconds"]
