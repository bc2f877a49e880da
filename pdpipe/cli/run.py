"""What every stage has around its work: params, device, identity, tracking, cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import pdpipe
from pdpipe import layout
from pdpipe.errors import ParamsError, did_you_mean
from pdpipe.files import digest, digest_file, sealed, write_json
from pdpipe.pipeline import PREPARE, Stage, code_digest
from pdpipe.runtime import autocast, configure, machine, needs_float32, precision

if TYPE_CHECKING:
    import torch

    from pdpipe.data import ImageSet
    from pdpipe.models import DiffusionModel
    from pdpipe.params import Params
    from pdpipe.plan import Work
    from pdpipe.tracking import Chain, StageTracker
    from pdpipe.training import Job

Steps = Annotated[int, typer.Option(help="The student's sampling steps: a key of the ladder.")]


@dataclass
class StageRun:
    """One run of a stage: what it was given, and where its outputs are recorded."""

    stage: Stage
    params: Params
    device: torch.device
    key: str  # digest of everything that determines the result
    code: str  # digest of the code that does
    used: dict[str, Any]  # the settings that the stage uses
    inputs: dict[str, str]  # {path: sha256}
    tracker: StageTracker
    started: float = field(default_factory=time.monotonic)
    outputs: list[Path] = field(default_factory=list)  # the main one first
    final: dict[str, float] = field(default_factory=dict)
    training: Job | None = None
    chain: Chain | None = None  # what the report says of the chain

    def job(self, seed: int, exact: bool = False) -> Job:
        """What the training needs of the run; `exact` where bfloat16 would drown it."""
        from pdpipe.training import Job

        chosen = precision(self.device, self.params.runtime, exact)
        self.training = Job(
            stage=self.stage.makes,
            seed=seed,
            key=self.key,
            snapshots_dir=layout.SNAPSHOTS,
            runtime=self.params.runtime,
            device=self.device,
            tracker=self.tracker,
            autocast=partial(autocast, self.device, chosen),
            precision=chosen,
        )
        return self.training

    def load(self, path: Path, exact: bool = False) -> DiffusionModel:
        """A model on the run's device, in the run's precision for it.

        `exact` where differences are measured that bfloat16 would drown.
        """
        from pdpipe.models import load_model

        model = load_model(path, device=str(self.device))
        exact = exact or needs_float32(model.info.parameterization)
        model.precision = precision(self.device, self.params.runtime, exact)
        model.autocast = partial(autocast, self.device, model.precision)
        if self.params.runtime.compile:
            model.network.compile()
        return model

    def provenance(self) -> dict[str, Any]:
        """Where the model of `job` comes from; nothing in it changes from run to run."""
        import torch

        assert self.training is not None
        return {
            "seed": self.training.seed,
            "params": self.used,
            "inputs": self.inputs,
            "pdpipe": pdpipe.__version__,
            "torch": str(torch.__version__),
            "precision": self.training.precision,
        }

    def write_training_cost(self, work: Work, seconds: float) -> None:
        """Write the cost file of a training."""
        counts = {
            "updates": work.updates,
            "batch_size": work.batch_size,
            "images_seen": work.images_seen,
            "network_evaluations": work.network_evaluations,
        }
        self._write_cost(self.stage.makes, counts, seconds)
        self.final["training_seconds"] = seconds

    def write_stage_cost(self, images: int, network_evaluations: int) -> None:
        """Write the cost file of a stage that neither trains nor measures a model's cells."""
        counts = {"images": images, "network_evaluations": network_evaluations}
        self._write_cost(self.stage.name, counts, time.monotonic() - self.started)

    def _write_cost(self, name: str, counts: dict[str, int], seconds: float) -> None:
        about = {"seconds": round(seconds, 3), "machine": machine(self.device), **self.made()}
        write_json(self.stage.outputs[-1], sealed({"stage": name, **counts, **about}))

    def made(self) -> dict[str, str]:
        """When, and at which commit: a + after it where tracked files were edited."""
        found, tags = {"made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}, self.tracker.tags
        if commit := tags.get("mlflow.source.git.commit"):
            found["commit"] = commit[:12] + "+" * (tags.get("pdpipe.git_dirty") == "true")
        return found


@contextmanager
def stage_run(
    stage: Stage, params: Params, used: dict[str, Any], inputs: Iterable[Path] | None = None
) -> Iterator[StageRun]:
    """The run of a stage; on success it is tracked with its outputs, else as failed or killed.

    One process at a time runs a stage: another waits for it.

    Args:
        stage: of the chain or of a study.
        params: the validated params.yaml.
        used: the settings that determine the result.
        inputs: the files that do, where they are not the stage's; the shards by their manifest.
    """
    from pdpipe.cli.bookkeeping import recorded, turn
    from pdpipe.cli.naming import chain_run_name, special_settings, stage_run_name
    from pdpipe.params import chain_id
    from pdpipe.tracking import open_tracker
    from pdpipe.training.snapshots import forget_recorded

    device = configure(params.runtime)
    with turn(layout.WORK / "turns", stage.name):
        forget_recorded(layout.SNAPSHOTS, recorded)
        found = {path.as_posix(): digest_input(path) for path in (inputs or stage.inputs)}
        code = code_digest(stage.code)
        key = digest({"stage": stage.makes, "used": used, "inputs": found, "code": code})
        about = machine(device)
        tags = {"pdpipe.device": about["device"], "pdpipe.machine": about["name"]}
        # Before `prepare` has run, the shards may be another chain's.
        prepared = stage is not PREPARE and (layout.SHARDS / "manifest.json").is_file()
        shards = digest_input(layout.SHARDS) if prepared else None
        chain = chain_id(params, shards) if shards else None
        special, source = special_settings(params), params.data.source
        with open_tracker(
            stage.name,
            used,
            tags | {"pdpipe.key": key},
            chain=chain,
            name=stage_run_name(stage, special),
            chain_name=chain and chain_run_name(source, chain, special),
            data=(source, shards) if shards else None,
        ) as tracker:
            if "training" not in stage.code:
                tracker.begin()
            run = StageRun(stage, params, device, key, code, used, found, tracker)
            yield run
            if run.training is not None:  # before all that could be slow
                run.training.snapshots.note_outputs(digest_file(p, "md5") for p in run.outputs)
            wall = time.monotonic() - run.started
            tracker.finish(
                outputs={p.as_posix(): digest_input(p) for p in run.outputs},
                metrics={"wall_seconds": wall, **run.final},
                chain=run.chain,
            )


def project_params() -> Params:
    """The project's params."""
    from pdpipe.params import read_params

    return read_params(layout.PARAMS)


def read_stage_params() -> Params:
    """The project's params; the first thing that every stage does, before its heavy imports."""
    params = project_params()
    from pdpipe.projects.package import check_package

    check_package()
    from pdpipe.tracking import start_ahead

    start_ahead()
    return params


def digest_input(path: Path) -> str:
    """sha256 of the file; for shards, of the contents listed in the manifest; "" if not there."""
    if path == layout.SHARDS:
        from pdpipe.data import read_manifest

        return read_manifest(path).digest
    return digest_file(path) if path.is_file() else ""


def load_images(params: Params, split: str) -> ImageSet:
    """A whole split of the chain's shards, `train` or `heldout`, whatever stage asks for it."""
    from pdpipe.data import load_split

    return load_split(layout.SHARDS, split, workers=params.runtime.workers)


def check_rung(params: Params, steps: int) -> None:
    """Refuse a step count that is no rung of the ladder."""
    if str(steps) not in params.ladder:
        known = ", ".join(map(str, params.rungs())) or "none"
        raise ParamsError(
            f"--steps {steps} is not a rung of the ladder in {layout.PARAMS} (rungs: {known}): "
            f"{did_you_mean(str(steps), params.ladder)}"
        )
