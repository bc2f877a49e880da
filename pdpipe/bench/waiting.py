"""What waiting threads cost, with cores of their own and beside other work."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pdpipe import layout
from pdpipe.bench.setting import inputs, random_images, untrained
from pdpipe.params import read_params
from pdpipe.tensor_files import digest_tensors
from pdpipe.waiting import A_SHORT_SPIN, POLICY, SPINS

SETTINGS: dict[str, dict[str, str]] = {
    "torch's own": {},
    f"{SPINS}=1000": {SPINS: "1000"},
    f"{SPINS}={A_SHORT_SPIN} (pdpipe's)": {SPINS: A_SHORT_SPIN},
    f"{SPINS}=100000": {SPINS: "100000"},
    f"{POLICY}=PASSIVE": {POLICY: "PASSIVE"},
}
_BUSY = "while True: pass"
_WORKER = "from pdpipe.bench.waiting import time_updates; time_updates({seconds})"


@dataclass(frozen=True)
class WaitingResult:
    """The time of the teacher's forward and backward in a process with one setting."""

    setting: str
    busy: int  # processes beside it that only count
    seconds: float  # median
    high: float  # third quartile
    gradients: str  # sha256: the setting must not change it

    def __str__(self) -> str:
        beside = f"beside {self.busy} busy processes" if self.busy else "alone"
        return (
            f"{self.setting}, {beside}: {self.seconds * 1e3:.1f} ms (third quartile "
            f"{self.high * 1e3:.1f}), gradients {self.gradients[:12]}"
        )


def bench_waiting(rounds: int, seconds: float = 4.0) -> Iterator[WaitingResult]:
    """Each setting alone and beside as many busy processes as there are cores, in turns.

    The processes read the params.yaml of the current folder.
    """
    for busy in (0, os.cpu_count() or 1):
        with _busy(busy):
            taken: dict[str, list[float]] = {name: [] for name in SETTINGS}
            digests = dict.fromkeys(SETTINGS, "")
            for _ in range(rounds):
                for name, setting in SETTINGS.items():
                    times, digests[name] = _in_process(setting, seconds)
                    taken[name] += times
        for name, times in taken.items():
            high = statistics.quantiles(times, n=4)[2] if len(times) > 1 else times[0]
            yield WaitingResult(name, busy, statistics.median(times), high, digests[name])


@contextmanager
def _busy(count: int) -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _in_process(setting: dict[str, str], seconds: float) -> tuple[list[float], str]:
    environment = {k: v for k, v in os.environ.items() if k not in (SPINS, POLICY)} | setting
    command = [sys.executable, "-c", _WORKER.format(seconds=seconds)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    times, digest = json.loads(done.stdout)
    return times, digest


def time_updates(seconds: float) -> None:
    """Print, as JSON, the times of forward and backward for so long, and the gradients' sha256."""
    params = read_params(layout.PARAMS)
    torch.manual_seed(0)
    network = untrained(params)
    for parameter in network.parameters():  # some start at zero, and so would their gradients
        torch.nn.init.normal_(parameter, std=0.05)
    images = random_images(params, count=2)
    batch = inputs(images, params.teacher.batch_size, torch.device("cpu"))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        started = time.perf_counter()
        network.zero_grad()
        network(*batch).square().mean().backward()
        times.append(time.perf_counter() - started)
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    print(json.dumps([times[1:], digest_tensors(gradients)]))
