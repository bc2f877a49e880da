"""A real training stage in a process of its own, which comes to grief where it is told to.

    training_worker.py SHARDS FOLDER STAGE WHERE [SIGNAL]

WHERE is `update:K` (in update K), `writing:K` (snapshot K written but not yet in its place) or
`publish:K` (snapshot K just in its place): there it sends itself SIGNAL; or it is `pause:K`: in
update K it says so and waits. There is a snapshot every ten updates; params are in FOLDER.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import torch
from stages_of_training import ListTracker, make_job, run_stage

from pdpipe.params import read_params

shards, folder, stage, where, *signals = sys.argv[1:]
event, _, number = where.partition(":")
counts = {"update": 0, "writing": 0, "publish": 0}


def reached(place: str) -> None:
    counts[place] += 1
    if place == ("update" if event == "pause" else event) and counts[place] == int(number):
        if event == "pause":
            print("pausing", flush=True)
            time.sleep(600)
        os.kill(os.getpid(), getattr(signal, signals[0]))


class Tracker(ListTracker):
    def publish(self) -> None:
        super().publish()
        reached("publish")


def autocast() -> contextlib.AbstractContextManager[None]:
    """What the loop calls first in each update."""
    reached("update")
    return contextlib.nullcontext()


def replace(path: Path, target: Path) -> Path:
    if target.name == "state.pt":
        reached("writing")
    return real_replace(path, target)


real_replace, Path.replace = Path.replace, replace  # type: ignore[method-assign, assignment]
torch.set_num_threads(1)
job = make_job(Path(folder), stage, 1e-9, tracker=Tracker(), autocast=autocast)
try:
    run_stage(job, read_params(Path(folder, "params.yaml")), Path(shards), Path(folder))
except KeyboardInterrupt:
    sys.exit(130)
