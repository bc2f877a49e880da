"""Tracking: every stage is an MLflow run, and a local record whether the server is there or not.

A stage opens a tracker, logs to it and finishes it, below the run of its chain; the report fills
that run and registers the models:

    with open_tracker("teacher", {"teacher": settings}, chain=chain_id) as tracker:
        model = train(..., tracker=tracker)  # tracker.log(step, ...), then publish per snapshot
        tracker.finish(outputs={"models/teacher.safetensors": sha256}, metrics={"loss": 0.1})

All of it is written below `.pdpipe/tracking` first; `sync_project` brings a server up to that. The
report hands over what is known of the chain: `tracker.finish(chain=Chain(...))`.

Run ids stay here: they never enter an output. Environment: MLFLOW_TRACKING_URI (default: mlflow.db
in the project), MLFLOW_EXPERIMENT_NAME (default: pdpipe), PDPIPE_TRACKING=off.
"""

from __future__ import annotations

from pdpipe.tracking.chain import Chain
from pdpipe.tracking.sync import sync_project
from pdpipe.tracking.tracker import StageTracker, Tracker, open_tracker, start_ahead

__all__ = [
    "Chain",
    "StageTracker",
    "Tracker",
    "open_tracker",
    "start_ahead",
    "sync_project",
]
