"""What the machine does while a stage runs: cores, memory, disk, network, GPUs.

MLflow's own monitors take the samples, in the uploader's process. They go to the stage's record,
so that they are sent, or sent later, like all else in it.
"""

from __future__ import annotations

import time
from typing import Any

from pdpipe.tracking.local import SYSTEM, Point, RunRecord
from pdpipe.tracking.server_run import now_ms

_EVERY = 10.0  # seconds, where MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says nothing


class MachineLoad:
    """Samples of the machine; none where MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING is false.

    GPUs are seen where nvidia-ml-py (or pyrsmi) is installed.

    Args:
        uri: of the tracking server, which MLflow's monitors want to know.
    """

    def __init__(self, uri: str) -> None:
        from mlflow import environment_variables as environment

        self._every = environment.MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or _EVERY
        self._next = time.monotonic() + self._every
        self._monitor: Any = None
        if environment.MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get():
            try:
                from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

                self._monitor = SystemMetricsMonitor("", tracking_uri=uri)
            except Exception:  # psutil is missing, or cannot read this machine
                return

    def sample(self, record: RunRecord) -> None:
        """Add a sample, if one is due; its step is the seconds since the run began."""
        if self._monitor is None or time.monotonic() < self._next:
            return
        started = record.run().get("started")
        if started is None:
            return
        self._next = time.monotonic() + self._every
        self._monitor.collect_metrics()
        values = self._monitor.aggregate_metrics()
        for monitor in self._monitor.monitors:
            monitor.clear_metrics()
        point = Point(
            (now_ms() - started) // 1000, now_ms(), {f"system/{k}": v for k, v in values.items()}
        )
        record.append(point, SYSTEM)
