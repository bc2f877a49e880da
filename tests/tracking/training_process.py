"""A training process in miniature: logs each update, snapshots every ten, then publishes.

    training_process.py UPDATES [--die-before-publish STEP] [--idle-after STEP] [--stage NAME]

`--die-before-publish` kills it (SIGKILL) between the snapshot at STEP and its publication;
`--idle-after` publishes at STEP, logs seven more points and waits to be killed. Started again, it
goes on from snapshot-<stage>.json.
"""

import argparse
import json
import os
import signal
import time
from pathlib import Path

from pdpipe.files import write_json
from pdpipe.tracking import open_tracker

parser = argparse.ArgumentParser()
parser.add_argument("updates", type=int)
parser.add_argument("--die-before-publish", type=int)
parser.add_argument("--idle-after", type=int)
parser.add_argument("--stage", default="teacher")
options = parser.parse_args()


def log(step: int) -> None:
    tracker.log(step, {"loss": 1.0 / step, "rate": step / 1000})


snapshot = Path(f"snapshot-{options.stage}.json")
with open_tracker(options.stage, {"teacher": {"updates": options.updates}}) as tracker:
    first = 1
    if snapshot.exists():
        state = json.loads(snapshot.read_text())
        tracker.load_state_dict(state["tracker"])
        first = state["step"] + 1
    for step in range(first, options.updates + 1):
        log(step)
        if step % 10 == 0:
            write_json(snapshot, {"step": step, "tracker": tracker.state_dict()})
            if step == options.die_before_publish:
                os.kill(os.getpid(), signal.SIGKILL)
            tracker.publish()
            if step == options.idle_after:
                for later in range(step + 1, step + 8):
                    log(later)
                print("idle", flush=True)
                time.sleep(600)
    tracker.finish(outputs={"models/teacher.safetensors": "ab" * 32}, metrics={"final": 0.25})
