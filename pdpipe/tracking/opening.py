"""Opening a tracker from the environment: where things go, and whether MLflow is used at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pdpipe.errors import ParamsError
from pdpipe.params import spelled
from pdpipe.tracking.courier import Courier
from pdpipe.tracking.local import LocalLog
from pdpipe.tracking.names import legal_folder
from pdpipe.tracking.parent import FIRST_CHAIN_TAG, LOCAL_DIR
from pdpipe.tracking.provenance import provenance_tags
from pdpipe.tracking.server import (
    ServerAddress,
    say_away,
    server_address,
    set_environment,
)
from pdpipe.tracking.tracker import StageTracker

_ahead: list[Courier] = []  # at most one, started before its tracker


def start_ahead(directory: Path | None = None) -> None:
    """Start MLflow's process for the tracker that will be opened: its imports pass beside ours.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    if is_tracking_on():
        set_environment()
        directory = directory or Path.cwd()
        _ahead.append(_courier(server_address(directory), directory))


def open_tracker(
    stage: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    *,
    chain: str | None = None,
    directory: Path | None = None,
    say: Callable[[str], None] | None = None,
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
        directory: the project's folder; the current one by default.
        say: takes the one sentence about a server that is away; prints to stderr by default.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    directory = directory or Path.cwd()
    folder = LOCAL_DIR / legal_folder(stage)
    local = LocalLog(directory / folder)
    all_tags = {**provenance_tags(stage, directory), **(tags or {})}
    if chain is not None:
        all_tags[FIRST_CHAIN_TAG] = chain
    courier = None
    if is_tracking_on():
        set_environment()
        record = (folder / local.metrics_path.name).as_posix()
        courier = _courier(server_address(directory), directory)
        courier.announce_with(_announcer(courier.address, record, say or say_on_stderr))
    return StageTracker(stage, params, all_tags, local, courier)


def _courier(address: ServerAddress, directory: Path) -> Courier:
    """The one that was started ahead if it is for the same, else a new one."""
    while _ahead:
        courier = _ahead.pop()
        if (courier.address, courier.directory) == (address, directory):
            return courier
        courier.close()
    return Courier(address, directory)


def _announcer(
    address: ServerAddress, record: str, say: Callable[[str], None]
) -> Callable[[str], None]:
    return lambda reason: say_away(address, reason, f"this run's metrics are in {record}", say)


def is_tracking_on() -> bool:
    """Whether MLflow is used: not when PDPIPE_TRACKING is `off`.

    Raises:
        ParamsError: PDPIPE_TRACKING is neither `on` nor `off`.
    """
    value = os.environ.get("PDPIPE_TRACKING") or "on"
    if value not in ("on", "off"):
        raise ParamsError(
            f"environment variable PDPIPE_TRACKING is {spelled(value)}: set it to on or off"
        )
    return value == "on"


def say_on_stderr(sentence: str) -> None:
    """Print a sentence on stderr in one piece."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
