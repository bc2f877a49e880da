"""The connection to an MLflow tracking server or database, and the only import of mlflow.

Everything here blocks, for seconds at first use (importing mlflow, creating a database), and may
raise anything: it belongs in the uploader or in `pdpipe sync`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from filelock import FileLock

from pdpipe.errors import ParamsError, PdpipeError
from pdpipe.params import spelled
from pdpipe.tracking.names import legal_folder, without_password

DEFAULT_URI = "sqlite:///mlflow.db"  # from the project's root on, as `mlflow ui` finds it there
DEFAULT_EXPERIMENT = "pdpipe"
_PROBE_SECONDS = 3
_REASON_LENGTH = 300
_DEFAULT_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # mlflow's 7 block for minutes on a dead server
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing here reaches out by itself
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true",
}
# The kind is what `mlflow ui` calls machine learning, and else would guess from the contents.
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Progressive distillation with pdpipe: a run for each chain, and below "
    "it a run for each of its stages. The chain's run has the headline, the report and the figures "
    "against sampling steps; the page `Models` compares the teacher and the students.",
}
_CHATTY = ("mlflow", "alembic", "sqlalchemy", "urllib3")


class TrackingError(PdpipeError):
    """MLflow cannot be used as it is; the sentence names a way out."""


@dataclass(frozen=True)
class ServerAddress:
    """Which server, and which experiment on it."""

    uri: str
    experiment: str


@dataclass(frozen=True)
class Connection:
    """An `MlflowClient` that has answered, and the experiment's id and name."""

    client: Any
    experiment_id: str
    experiment: str


def server_address() -> ServerAddress:
    """The address the environment names, else `mlflow.db` in the project's root.

    The default is relative, so that no sign in the project's path can spoil it: whoever connects
    stands in the project's root. MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are respected.
    """
    return ServerAddress(
        uri=os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI,
        experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT,
    )


def project_root() -> Path:
    """DVC_ROOT, else this folder.

    DVC sets it to the user's project also for an experiment that runs in a temporary copy. In a
    study's stage it is the study's folder, below the project's, where the stage runs.
    """
    here = Path.cwd()
    root = Path(os.environ.get("DVC_ROOT") or here).absolute()
    return here if root.is_relative_to(here) else root


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


def connect(address: ServerAddress) -> Connection:
    """A connection to the server, its database and experiment made where missing.

    Raises:
        Exception: whatever mlflow or the network raises when the server cannot be used.
    """
    _check_listening(address.uri)
    for variable, value in _DEFAULT_ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|alembic)\b")
    from mlflow import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
    database, artifacts = _sqlite_path(address.uri), None
    if database is not None:
        artifacts = database.parent / "mlruns" / legal_folder(address.experiment)
        _create_database(database, artifacts)
        if address.uri == DEFAULT_URI:
            _take_home(database, artifacts)
    try:
        client = MlflowClient(tracking_uri=address.uri)
        location = None if artifacts is None else artifacts.as_uri()
        experiment_id = _experiment_id(client, address.experiment, location)
        return Connection(client, experiment_id, address.experiment)
    except Exception as error:
        raise _with_a_way_out(error, address.uri) from error


def _with_a_way_out(error: Exception, uri: str) -> Exception:
    """The error, as a sentence with the command that helps where one is known."""
    said = str(error)
    if "out-of-date database schema" in said:
        return TrackingError(
            f"another MLflow made the database: copy it, then run `mlflow db upgrade {uri}`; where "
            "that fails, a newer one did: run `pip install -U mlflow`"
        )
    if "file store" in said.lower() or "filesystem" in said.lower():
        return TrackingError(
            "MLflow no longer takes a folder as a store: run `unset MLFLOW_TRACKING_URI`, after "
            f"`mlflow migrate-filestore --source <its folder> --target {DEFAULT_URI}` to keep "
            "what is in it"
        )
    return error


def _experiment_id(client: Any, name: str, artifact_location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, artifact_location, _EXPERIMENT_TAGS))
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"the experiment {name} is deleted: run `mlflow experiments restore --experiment-id "
            f"{found.experiment_id}`, or choose another name with MLFLOW_EXPERIMENT_NAME"
        )
    return str(found.experiment_id)


# Where a database of MLflow's holds absolute places.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def _take_home(database: Path, artifacts: Path) -> None:
    """Have a database that was copied or moved with its project lead to this project's artifacts.

    Its experiments, runs and models hold absolute places, so a copy would write into the original.
    """
    end, home = f"/mlruns/{quote(artifacts.name)}", f"{database.parent.as_uri()}/mlruns/"
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = connection.execute("SELECT artifact_location FROM experiments").fetchall()
        places = [place for (place,) in rows if place and place.startswith("file:///")]
        found = [place.removesuffix(end) + "/mlruns/" for place in places if place.endswith(end)]
        for old in found:
            was = Path(unquote(urlsplit(old).path)).parent
            if old == home or (was.exists() and was.samefile(database.parent)):
                continue
            for table, column in _PLACES:
                with contextlib.suppress(sqlite3.OperationalError):  # an older MLflow has it not
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (home, len(old) + 1, len(old), old),
                    )
            connection.commit()
            say(
                f"tracking: mlflow.db was copied or moved from {was}: its artifacts are in "
                f"{database.parent / 'mlruns'} from now on"
            )


def _check_listening(uri: str) -> None:
    """Raise OSError, in seconds and before the slow import, when nothing listens at `uri`."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return  # only the proxy can tell
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname, port), timeout=_PROBE_SECONDS).close()


def _sqlite_path(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        return None
    from sqlalchemy import make_url

    name = make_url(uri).database
    return None if name in (None, "", ":memory:") or "file:" in name else Path(name).absolute()


def _create_database(path: Path, artifacts: Path) -> None:
    """Make the sqlite database if there is none, whole or not at all.

    mlflow's own creation is many steps: two processes that start it at once, or a kill in the
    middle, leave a database that never works again. So one process makes it under another name.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        for left_by_a_kill in path.parent.glob(f"{path.name}.*.new"):
            left_by_a_kill.unlink()
        if path.exists():
            return
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        with contextlib.chdir(path.parent):  # no sign in its path can spoil the address
            SqlAlchemyStore(f"sqlite:///{fresh.name}", artifacts.as_uri()).engine.dispose()
        fresh.replace(path)


def say(sentence: str) -> None:
    """Print a sentence on stderr in one piece."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def why(reason: Exception | str) -> str:
    """The first line of a reason, without passwords."""
    first_line = str(reason).strip().partition("\n")[0][:_REASON_LENGTH]
    return without_password(first_line or type(reason).__name__)
