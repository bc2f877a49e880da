"""A stage's run as its code sees it: log, publish with each snapshot, finish."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pdpipe.files import parse_json
from pdpipe.tracking.chain import CHAIN, Chain
from pdpipe.tracking.local import ERROR_TAG, LOCAL_DIR, Point, RunRecord
from pdpipe.tracking.names import flatten, legal_folder, to_json_number
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.server import (
    is_tracking_on,
    project_root,
    server_address,
)
from pdpipe.tracking.server_run import FIRST_CHAIN_TAG, NOTE_TAG, OUTPUT_TAG, Status, now_ms
from pdpipe.tracking.uploader import Uploader

if TYPE_CHECKING:
    from PIL.Image import Image

_RESERVED = {"step", "time"}
_ahead: list[Uploader] = []  # at most one, started before its tracker


def start_ahead() -> None:
    """Start MLflow's process for the tracker that will be opened: its imports pass beside ours.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    if is_tracking_on():
        _ahead.append(Uploader(server_address()))


def open_tracker(
    stage: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    *,
    chain: str | None = None,
    name: str = "",
    chain_name: str | None = None,
    data: tuple[str, str] | None = None,
) -> StageTracker:
    """The tracker of one run of `stage`, its local files below `.pdpipe/tracking/<stage>/`.

    MLflow is imported and connected in a process of its own, which `start_ahead` may have begun;
    this comes back at once.

    Args:
        stage: the stage's name, `halve@4`; the run's name, where no other is given.
        params: the settings that the stage uses, nested as in params.yaml.
        tags: more to know about the run, such as {"pdpipe.device": "cuda"}; the commit, versions,
            threads and machine are added.
        chain: the chain that runs the stage, where its id is known: the run shows below its run.
        name: the run's name, such as `teacher · updates=300`.
        chain_name: what the chain's run is called, where this is the first to need it.
        data: what the stage learns from or measures: the data's name, the digest of the shards.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    home = project_root() / LOCAL_DIR  # a folder that DVC makes for an experiment goes away
    all_tags = {**provenance_tags(stage), **(tags or {})}
    if chain is not None:
        all_tags[FIRST_CHAIN_TAG] = chain
    if is_tracking_on() and not _ahead:
        start_ahead()
    uploader = _ahead.pop() if _ahead else None
    about = {
        "stage": stage,
        "name": name or stage,
        "chain_name": chain_name,
        "data": data,
        "params": flatten(params),
        "tags": all_tags,
    }
    return StageTracker(about, home, uploader)


class Tracker(Protocol):
    """What a training loop needs of a tracker."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the values of metrics after `step` updates."""

    def publish(self) -> None:
        """Have what was logged survive a power cut; call it right after a snapshot."""

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot has to hold for the run to go on; plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a snapshot, as it was then."""


class StageTracker:
    """One run of a stage: a local record, and a process that brings MLflow up to it.

    As a context manager it finishes the run: FINISHED, FAILED after an exception, KILLED after
    Ctrl-C.
    """

    def __init__(self, about: Mapping[str, Any], home: Path, uploader: Uploader | None) -> None:
        """Begin nothing yet; `about` is what run.json says of the run from the start."""
        self._home, self._uploader = home, uploader
        self._record: RunRecord | None = None
        self._step: int | None = None  # the last that was logged
        self._known = -1  # the last that was, before the run was resumed
        self._finished = False
        began = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{uuid.uuid4().hex[:8]}"
        self._run: dict[str, Any] = {
            **about, "attempt": began, "started": now_ms(), "status": "RUNNING"
        }  # fmt: skip

    @property
    def tags(self) -> Mapping[str, str]:
        """The run's tags so far: where it happens, and what was given."""
        found: Mapping[str, str] = self._run["tags"]
        return found

    def begin(self) -> None:
        """Show the run from now on; without it, from the first point on.

        Not where the stage may find that it goes on with another run.
        """
        self._begun()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the values of metrics after `step` updates; `step` and `time` are no names.

        What a resumed run logged before is not logged again.
        """
        assert not _RESERVED & set(metrics), f"a metric cannot be called {_RESERVED}"
        if step > self._known:
            values = {name: float(value) for name, value in metrics.items()}
            self._begun().append(Point(int(step), now_ms(), values))
        self._step = max(int(step), self._step or 0)

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Record an image; those of one name can be looked through by their steps."""
        self._begun().add_image(step, name, image)

    def publish(self) -> None:
        """Have what was logged survive a power cut; call it right after a snapshot."""
        self._begun().flush()

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot has to hold: which run this is, and the last step that it logged."""
        known = {key: self._run[key] for key in ("attempt", "started")}
        return {**known, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a snapshot; call it before anything is logged."""
        assert self._record is None, "load the tracker's state before logging"
        self._run |= {"attempt": state["attempt"], "started": state["started"]}
        self._step = state["step"]
        self._run["tags"]["pdpipe.resumed_after_step"] = str(self._step)
        self._begun()

    def finish(
        self,
        status: Status = "FINISHED",
        outputs: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        chain: Chain | None = None,
    ) -> None:
        """Close the run; waits a bounded time for the server to have all of it.

        Args:
            status: how the stage ended.
            outputs: {path: sha256} of what it made, the main output first; the digests are how a
                later process finds the run that made given bytes.
            metrics: final figures, each of a name that was not logged. A run that had ended
                before, and whose result is taken again, keeps those of then.
            chain: what is known of the chain, to be put on its run.
        """
        if self._finished:
            return
        self._finished = True
        record, outputs = self._begun(), dict(outputs or {})
        self._run["tags"] |= {f"pdpipe.output.{path}": sha for path, sha in outputs.items()}
        if outputs:
            self._run["tags"][OUTPUT_TAG] = next(iter(outputs.values()))
            self._run["tags"][NOTE_TAG] = f"Made {', '.join(f'`{path}`' for path in outputs)}."
        values = {name: to_json_number(float(value)) for name, value in (metrics or {}).items()}
        self._run |= {
            "status": status, "ended": now_ms(), "outputs": outputs,
            "metrics": values | self._run.get("metrics", {}),
        }  # fmt: skip
        if chain is not None:
            record.add_artifacts(chain.artifacts)
            self._run["report"] = parse_json(CHAIN.dump_json(chain))
        record.describe(self._run)
        record.end()
        if self._uploader is not None:
            self._uploader.close(finished=status == "FINISHED")

    def __enter__(self) -> StageTracker:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._run["tags"][ERROR_TAG] = f"{type(error).__name__}: {error}"
        self.finish(_status(error))

    def _begun(self) -> RunRecord:
        """The record, which the first call begins."""
        if self._record is None:
            folder = legal_folder(self._run["stage"]), legal_folder(self._run["attempt"])
            self._record = RunRecord(self._home.joinpath(*folder))
            self._known = max((point.step for point in self._record.open()), default=-1)
            if figures := self._record.run().get("metrics"):  # of a run that had ended
                self._run["metrics"] = figures
            self._record.describe(self._run)
            if self._uploader is not None:
                self._uploader.follow(self._record)
        return self._record


def _status(error: BaseException | None) -> Status:
    """How a stage ended that left its block with `error`; 130 and 143 are exits by a signal."""
    if isinstance(error, SystemExit):
        if error.code in (130, 143):
            return "KILLED"
        return "FINISHED" if error.code in (0, None) else "FAILED"
    if isinstance(error, KeyboardInterrupt):
        return "KILLED"
    return "FAILED" if error is not None else "FINISHED"
