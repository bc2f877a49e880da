"""A stage's run as its code sees it: log, publish with each snapshot, finish."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from pdpipe.tracking.courier import Courier
from pdpipe.tracking.local import LocalLog, Point
from pdpipe.tracking.names import flatten, legal_folder, to_json_number
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.server import LOCAL_DIR, is_tracking_on, server_address, set_environment
from pdpipe.tracking.server_run import (
    ERROR_TAG,
    FIRST_CHAIN_TAG,
    Ending,
    RunDescription,
    Status,
    now_ms,
)

OUTPUT_TAG = "pdpipe.output_sha256"
_RESERVED = {"step", "time"}
_ahead: list[Courier] = []  # at most one, started before its tracker


def start_ahead() -> None:
    """Start MLflow's process for the tracker that will be opened: its imports pass beside ours.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    if is_tracking_on():
        set_environment()
        _ahead.append(_courier())


def open_tracker(
    stage: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    *,
    chain: str | None = None,
) -> StageTracker:
    """The tracker of one run of `stage`, its local files in `.pdpipe/tracking/<stage>/`.

    MLflow is imported and connected in a process of its own; this comes back at once. A process
    that `start_ahead` began for the same server is taken.

    Args:
        stage: the stage's name, `halve@4`; it is the run's name too.
        params: the settings that the stage uses, nested as in params.yaml.
        tags: more to know about the run, such as {"pdpipe.device": "cuda"}; the commit, versions,
            threads and machine are added.
        chain: the chain that runs the stage, where its id is known: the run shows below its run.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    folder = LOCAL_DIR / legal_folder(stage)
    local = LocalLog(folder.absolute())
    all_tags = {**provenance_tags(stage), **(tags or {})}
    if chain is not None:
        all_tags[FIRST_CHAIN_TAG] = chain
    courier = None
    if is_tracking_on():
        set_environment()
        courier = _courier()
        courier.announce((folder / local.metrics_path.name).as_posix())
    return StageTracker(stage, params, all_tags, local, courier)


def _courier() -> Courier:
    """The one that was started ahead if it is for the same server, else a new one."""
    address = server_address()
    while _ahead:
        courier = _ahead.pop()
        if courier.address == address:
            return courier
        courier.close()
    return Courier(address)


class Tracker(Protocol):
    """What a training loop needs of a tracker."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the values of metrics after `step` updates."""

    def publish(self) -> None:
        """Let the points logged so far be seen by others; call it right after a snapshot."""

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot has to hold for the run to go on; plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a snapshot, as it was then."""


class StageTracker:
    """One run of a stage: a local record, and a courier that mirrors it to MLflow.

    As a context manager it finishes the run: FINISHED, FAILED after an exception, KILLED after
    Ctrl-C.
    """

    def __init__(
        self,
        stage: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        local: LocalLog,
        courier: Courier | None,
    ) -> None:
        self.stage = stage
        self._params = flatten(params)
        self._tags = dict(tags)
        self._final_tags: dict[str, str] = {}
        self._local = local
        self._courier = courier
        self._attempt = uuid.uuid4().hex
        self._started = now_ms()
        self._step: int | None = None
        self._buffer: list[Point] = []
        self._run: RunDescription | None = None
        self._finished = False

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the values of metrics after `step` updates; `step` and `time` are no names."""
        assert not _RESERVED & set(metrics), f"a metric cannot be called {_RESERVED}"
        self._begin()
        values = {name: float(value) for name, value in metrics.items()}
        point = Point(int(step), now_ms(), values)
        self._local.append(point)
        self._buffer.append(point)
        self._step = point.step if self._step is None else max(self._step, point.step)

    def publish(self) -> None:
        """Hand what was logged to the courier; call it right after a snapshot.

        Points newer than the last snapshot would be computed, and logged, again after a kill.
        """
        run = self._begin()
        if self._courier is not None:
            self._courier.send(run, self._buffer)
        self._buffer = []

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot has to hold: which run this is, the last step it logged, and a seal.

        That is of the points themselves, which are in the local record, flushed to the disk here.
        """
        return {
            "attempt": self._attempt,
            "started": self._started,
            "step": self._step,
            "points": self._local.seal(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a snapshot; call it before anything is logged.

        The local record is cut back to the snapshot; the server is sent the points that it lacks.
        """
        assert self._run is None, "load the tracker's state before logging"
        self._attempt, self._started = state["attempt"], state["started"]
        self._step = state["step"]
        self._tags["pdpipe.resumed_after_step"] = str(self._step)
        self._buffer = self._local.resume(self._attempt, state["points"])
        self._run = self._describe()
        self.publish()

    def finish(
        self,
        status: Status = "FINISHED",
        outputs: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Close the run; waits up to a minute for a slow server, seconds for one that is away.

        Args:
            status: how the stage ended.
            outputs: {path: sha256} of what it made, the main output first; the digests are how a
                later process finds the run that made given bytes.
            metrics: final figures, each of a name that was not logged.
        """
        if self._finished:
            return
        self._finished = True
        self.publish()
        outputs = outputs or {}
        if outputs:
            self._final_tags[OUTPUT_TAG] = next(iter(outputs.values()))
        self._final_tags |= {f"pdpipe.output.{path}": sha for path, sha in outputs.items()}
        values = {name: float(value) for name, value in (metrics or {}).items()}
        outcome = {
            "status": status,
            "ended": now_ms(),
            "outputs": dict(outputs),
            "metrics": {name: to_json_number(value) for name, value in values.items()},
        }
        self._write_run(outcome)
        if self._courier is not None:
            final = Point(0, now_ms(), values)  # of no step: MLflow shows it as a number
            self._courier.finish(Ending(status, self._final_tags, final))
            self._write_run({**outcome, "run_id": self._courier.run_id})

    def __enter__(self) -> StageTracker:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._final_tags[ERROR_TAG] = f"{type(error).__name__}: {error}"
        self.finish(_status(error))

    def _begin(self) -> RunDescription:
        """The run's description; the first call starts a new local record."""
        if self._run is None:
            self._local.start(self._attempt)
            self._run = self._describe()
        return self._run

    def _describe(self) -> RunDescription:
        self._write_run({"status": "RUNNING"})
        return RunDescription(
            self.stage, self._attempt, self._started, dict(self._params), dict(self._tags)
        )

    def _write_run(self, outcome: Mapping[str, Any]) -> None:
        published = self._courier is not None and self._courier.complete
        self._local.describe(
            {
                "stage": self.stage,
                "attempt": self._attempt,
                "started": self._started,
                "published": published,
                **outcome,
                "params": self._params,
                "tags": {**self._tags, **self._final_tags},
            }
        )


def _status(error: BaseException | None) -> Status:
    """How a stage ended that left its block with `error`; 130 and 143 are exits by a signal."""
    if isinstance(error, SystemExit):
        if error.code in (130, 143):
            return "KILLED"
        return "FINISHED" if error.code in (0, None) else "FAILED"
    if isinstance(error, KeyboardInterrupt):
        return "KILLED"
    return "FAILED" if error is not None else "FINISHED"
