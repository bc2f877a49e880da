"""A stage's run as its code sees it: log, publish with each snapshot, finish."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from pdpipe.tracking.chain import Chain, write_chain
from pdpipe.tracking.local import LOCAL_DIR, Point, RunRecord, keep
from pdpipe.tracking.names import flatten, legal_folder, to_json_number
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.server import (
    is_tracking_on,
    project_root,
    server_address,
    set_environment,
)
from pdpipe.tracking.server_run import (
    ERROR_TAG,
    FIRST_CHAIN_TAG,
    OUTPUT_TAG,
    DataSet,
    Status,
    now_ms,
)
from pdpipe.tracking.uploader import Uploader

_RESERVED = {"step", "time"}
_ahead: list[Uploader] = []  # at most one, started before its tracker


def start_ahead() -> None:
    """Start MLflow's process for the tracker that will be opened: its imports pass beside ours.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    if is_tracking_on():
        set_environment()
        _ahead.append(_uploader())


def open_tracker(
    stage: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    *,
    chain: str | None = None,
    name: str = "",
    chain_name: str | None = None,
    data: DataSet | None = None,
) -> StageTracker:
    """The tracker of one run of `stage`, its local files in `.pdpipe/tracking/<stage>/`.

    MLflow is imported and connected in a process of its own; this comes back at once. A process
    that `start_ahead` began for the same server is taken.

    Args:
        stage: the stage's name, `halve@4`; the run's name, where no other is given.
        params: the settings that the stage uses, nested as in params.yaml.
        tags: more to know about the run, such as {"pdpipe.device": "cuda"}; the commit, versions,
            threads and machine are added.
        chain: the chain that runs the stage, where its id is known: the run shows below its run.
        name: the run's name, such as `teacher · updates=300`.
        chain_name: what the chain's run is called, where this is the first to need it.
        data: what the stage learns from or measures.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    record = RunRecord((LOCAL_DIR / legal_folder(stage)).absolute())
    all_tags = {**provenance_tags(stage), **(tags or {})}
    if chain is not None:
        all_tags[FIRST_CHAIN_TAG] = chain
    uploader = None
    if is_tracking_on():
        set_environment()
        uploader = _uploader()
    about = {
        "stage": stage,
        "name": name or stage,
        "chain_name": chain_name,
        "data": None if data is None else asdict(data),
        "params": flatten(params),
        "tags": all_tags,
    }
    return StageTracker(about, record, uploader)


def _uploader() -> Uploader:
    """The one that was started ahead if it is for the same server, else a new one."""
    address = server_address()
    while _ahead:
        uploader = _ahead.pop()
        if uploader.address == address:
            return uploader
        uploader.close()
    return Uploader(address)


class Tracker(Protocol):
    """What a training loop needs of a tracker."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """RunRecord the values of metrics after `step` updates."""

    def publish(self) -> None:
        """Let the points logged so far be seen by others; call it right after a snapshot."""

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot has to hold for the run to go on; plain JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a snapshot, as it was then."""


class StageTracker:
    """One run of a stage: a local record, and a process that brings MLflow up to it.

    As a context manager it finishes the run: FINISHED, FAILED after an exception, KILLED after
    Ctrl-C.
    """

    def __init__(
        self, about: Mapping[str, Any], record: RunRecord, uploader: Uploader | None
    ) -> None:
        """Begin nothing yet; `about` is what run.json says of the run from the start."""
        self._record, self._uploader = record, uploader
        self._step: int | None = None
        self._begun = self._finished = False
        self._run: dict[str, Any] = {  # what run.json holds
            **about,
            "attempt": uuid.uuid4().hex,
            "started": now_ms(),
            "status": "RUNNING",
        }

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """RunRecord the values of metrics after `step` updates; `step` and `time` are no names."""
        assert not _RESERVED & set(metrics), f"a metric cannot be called {_RESERVED}"
        self._begin()
        values = {name: float(value) for name, value in metrics.items()}
        self._record.append(Point(int(step), now_ms(), values))
        self._step = int(step) if self._step is None else max(self._step, int(step))

    def publish(self) -> None:
        """Let others see what was logged; call it right after a snapshot.

        Points newer than the last snapshot would be computed, and logged, again after a kill.
        """
        self._begin()
        self._record.share()

    def state_dict(self) -> dict[str, Any]:
        """What a snapshot has to hold: which run this is, the last step it logged, and a seal.

        That is of the points themselves, which are in the local record, flushed to the disk here.
        """
        return {
            "attempt": self._run["attempt"],
            "started": self._run["started"],
            "step": self._step,
            "points": self._record.seal(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the run of a snapshot; call it before anything is logged.

        The local record is cut back to the snapshot; the server is sent the points that it lacks.
        """
        assert not self._begun, "load the tracker's state before logging"
        self._begun = True
        self._run |= {"attempt": state["attempt"], "started": state["started"]}
        self._step = state["step"]
        self._run["tags"]["pdpipe.resumed_after_step"] = str(self._step)
        self._record.resume(state["attempt"], state["points"])
        self._record.describe(self._run)

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
            metrics: final figures, each of a name that was not logged.
            chain: what is known of the chain, to be put on its run.
        """
        if self._finished:
            return
        self._finished = True
        self.publish()
        outputs = dict(outputs or {})
        self._run["tags"] |= {f"pdpipe.output.{path}": sha for path, sha in outputs.items()}
        if outputs:
            self._run["tags"][OUTPUT_TAG] = next(iter(outputs.values()))
        values = {name: to_json_number(float(value)) for name, value in (metrics or {}).items()}
        self._run |= {
            "status": status, "ended": now_ms(), "outputs": outputs, "metrics": values
        }  # fmt: skip
        self._record.describe(self._run)
        self._record.end()
        if chain is not None:
            write_chain(chain)
        if self._uploader is not None:
            self._uploader.close()
        home = project_root() / LOCAL_DIR  # a folder that DVC made for one experiment goes away
        if home != LOCAL_DIR.absolute() and not self._record.is_sent():
            keep(self._record, home)

    def __enter__(self) -> StageTracker:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._run["tags"][ERROR_TAG] = f"{type(error).__name__}: {error}"
        self.finish(_status(error))

    def _begin(self) -> None:
        """The first call starts a new local record."""
        if not self._begun:
            self._begun = True
            self._record.start(self._run["attempt"])
            self._record.describe(self._run)


def _status(error: BaseException | None) -> Status:
    """How a stage ended that left its block with `error`; 130 and 143 are exits by a signal."""
    if isinstance(error, SystemExit):
        if error.code in (130, 143):
            return "KILLED"
        return "FINISHED" if error.code in (0, None) else "FAILED"
    if isinstance(error, KeyboardInterrupt):
        return "KILLED"
    return "FAILED" if error is not None else "FINISHED"
