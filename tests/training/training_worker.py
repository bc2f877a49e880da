"""A real training stage in a process of its own, which kills itself where it is told to.

    training_worker.py SHARDS FOLDER STAGE WHERE SIGNAL

STAGE is teacher, guide or halve. WHERE is `update:K` (in update K), `writing:K` (with snapshot K
written but not in its place), `publish:K` (snapshot K just in place), or `pause:K` (in update K:
says so and waits). Snapshots are made every ten updates; params are PARAMS_JSON in the environment.
"""

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from stages_of_training import ListTracker, make_job, run_stage

from pdpipe.params import parse_params

shards, folder, stage, where, name = sys.argv[1:]
kind, _, number = where.partition(":")
torch.set_num_threads(1)
counts = {"update": 0, "writing": 0, "publish": 0}


def reached(place: str) -> None:
    """Count it, and die or wait when it is the place."""
    counts[place] += 1
    if counts[place] != int(number):
        return
    if kind == place:
        os.kill(os.getpid(), getattr(signal, name))
    if kind == "pause" and place == "update":
        print("pausing", flush=True)
        time.sleep(600)


class Tracker(ListTracker):
    def publish(self) -> None:
        super().publish()
        reached("publish")


def autocast() -> contextlib.AbstractContextManager[None]:
    """Called at the start of each update."""
    reached("update")
    return contextlib.nullcontext()


replace = Path.replace


def replace_or_die(self: Path, target: Path) -> Path:
    if target.name == "state.pt":
        reached("writing")
    return replace(self, target)


Path.replace = replace_or_die  # type: ignore[method-assign, assignment]
job = make_job(Path(folder), stage, Tracker(), autocast)
try:
    run_stage(parse_params(json.loads(os.environ["PARAMS_JSON"])), Path(shards), Path(folder), job)
except KeyboardInterrupt:
    sys.exit(130)
