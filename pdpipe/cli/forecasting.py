"""The command `forecast`: how long the chain of params.yaml will take on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdpipe import layout
from pdpipe.cli.run import project_params
from pdpipe.errors import PdpipeError, counted
from pdpipe.runtime import configure, machine

if TYPE_CHECKING:
    from pdpipe.bench import DataSize, Rates, Seconds, StageForecast, StartUp
    from pdpipe.params import Params

# What every stage does around its work, in a process of its own: imports, tracking.
# It prints the seconds until the metrics, which are imported when they are needed, can be used.
EMPTY_STAGE = """
import time
from pdpipe.cli.run import read_stage_params, stage_run
from pdpipe.pipeline import Stage
params = read_stage_params()
import torch
import pdpipe.evaluation.evaluate, pdpipe.models, pdpipe.training
from pdpipe.evaluation.fidelity import inception_score
stage = Stage(name="forecast", makes="forecast", command="", code=("training",), outputs=())
with stage_run(stage, params, {}):
    started = time.perf_counter()
    inception_score(torch.zeros(2, 2))
    print(time.perf_counter() - started)
"""
NOTES = (
    "Expected is the middle of a few timings of every kind of work, from and to are the fastest "
    "and the slowest of them, each multiplied by the stage's own counts: updates, images, network "
    "evaluations. A machine that others use, or that slows down when it is warm, leaves "
    "this range.",
    "The whole chain is counted, whether or not some of it is done: `dvc status` says what is. Not "
    "in it: what DVC itself takes, reading and decoding the source of the data, snapshots, and "
    "drawing the report. Memory was not measured.",
)


def forecast(
    budget: Annotated[
        float, typer.Option(help="Seconds of timing, start-up aside.", min=1.0, max=3600.0)
    ] = 25.0,
) -> None:
    """Predict how long each stage takes on this machine, from a few timed updates and images."""
    params = project_params()
    from pdpipe import bench

    start = start_up(layout.PARAMS)
    device = configure(params.runtime)
    size = bench.data_size(params, layout.SHARDS)
    about = machine(device)
    print(
        f"on {about['name']} ({about['device']}, {counted(about['threads'], 'thread')}, "
        f"{params.runtime.precision}, torch {about['torch']})\n{size}\n"
    )
    models = bench.untrained_models(params, size, device)
    rates = bench.measure_rates(params, models, size, device, budget)
    stages = bench.forecast(params, models, size, rates, start)
    print("\n".join(table(stages)))
    print()
    around = (
        f"In each stage: {duration(start.process.middle)} for its process, imports and tracking "
        f"(an empty one was timed); where images are measured, {duration(start.metrics.middle)} "
        "more for importing the metrics."
    )
    for note in [around, *_special_notes(params, rates, size), *NOTES]:
        print("\n".join(textwrap.wrap(note, 100)))


def start_up(params: Path) -> StartUp:
    """What a stage with nothing in it takes, in a process and a folder of its own.

    The first run makes the tracking's database, as happens once in a project; the next are timed.

    Raises:
        PdpipeError: it ends with an error.
    """
    from pdpipe.bench import Seconds, StartUp

    # A server of the project's own must not get empty runs: tracking goes to the folder's file.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    process, metrics = [], []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / layout.PARAMS).write_bytes(params.read_bytes())
        for _ in range(3):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", EMPTY_STAGE],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            took = time.perf_counter() - started
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["it gives no reason"])[-1]
                raise PdpipeError(
                    f"a stage without any work does not run here ({last}): mend that first, such "
                    "as by installing pdpipe once more"
                )
            metrics.append(float(done.stdout.splitlines()[-1]))
            process.append(took - metrics[-1])
    return StartUp(process=Seconds.of(process[1:]), metrics=Seconds.of(metrics[1:]))


def table(stages: list[StageForecast]) -> list[str]:
    """The stages as lines of text, with their sum below."""
    from pdpipe.bench import total
    from pdpipe.reporting.formats import aligned

    headings = ["stage", "updates", "images", "network evaluations", "expected", "from", "to"]
    rows = [
        [
            stage.name,
            *map(_count, (stage.updates, stage.images, stage.network_evaluations)),
            *_durations(stage.seconds),
        ]
        for stage in stages
    ]
    updates = sum(stage.updates or 0 for stage in stages)
    evaluations = sum(stage.network_evaluations or 0 for stage in stages)
    end = ["all", _count(updates), "", _count(evaluations), *_durations(total(stages))]
    return aligned([headings, *rows, end])


def duration(seconds: float) -> str:
    """A time to two or three digits, in the unit that suits it."""
    for unit, length, least in (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= least * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _durations(seconds: Seconds) -> list[str]:
    return [duration(value) for value in (seconds.middle, seconds.low, seconds.high)]


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _special_notes(params: Params, rates: Rates, size: DataSize) -> list[str]:
    """What is true of this forecast and not of every one."""
    from pdpipe.bench import MOST_IMAGES

    found = []
    scaled = [
        f"{kind} ({rate.batch:,} of {rate.wanted:,})"
        for kind, rate in rates.batched.items()
        if rate.scaled
    ]
    if scaled:
        found.append(
            "Timed with smaller batches, for the time it takes, and taken as proportional: "
            f"{', '.join(scaled)}. Large batches are as a rule quicker for each image."
        )
    found += [
        f"Out of memory: {kind}, with a batch of {rate.out_of_memory:,} images. Its stage would "
        "not run here with that batch size."
        for kind, rate in rates.batched.items()
        if rate.out_of_memory
    ]
    once = [kind for kind, rate in rates.batched.items() if rate.timings == 1]
    if once:
        found.append(f"Timed only once, which gives no range: {', '.join(once)}.")
    if max(params.evaluation.num_samples, size.train) > MOST_IMAGES:
        found.append(
            f"Measuring was timed with {MOST_IMAGES:,} generated and real images at most, and "
            "taken as proportional to the images, and to their pairs for the distances."
        )
    if params.runtime.compile:
        found.append("The networks were not compiled for it, as runtime.compile will have them.")
    if not size.known:
        found.append(
            "The numbers of classes and images are assumed; they matter for loading the data and "
            "for the distances to the nearest training image."
        )
    return found
