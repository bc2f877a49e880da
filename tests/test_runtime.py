"""Devices, threads and precision."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch

from pdpipe.errors import ParamsError
from pdpipe.params import RuntimeParams
from pdpipe.runtime import (
    autocast,
    configure,
    machine,
    needs_float32,
    precision,
    resolve_device,
)

CPU = torch.device("cpu")


def runtime(**changes: Any) -> RuntimeParams:
    values: dict[str, Any] = {
        "device": "cpu",
        "threads": 0,
        "workers": 0,
        "precision": "float32",
        "compile": False,
        "snapshot_seconds": 10.0,
        "weights": "",
    }
    return RuntimeParams(**(values | changes))


def test_auto_takes_the_best_there_is() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.backends.mps.is_available():
        assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:77", "meta"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(
        ParamsError, match=r"which cannot be used here .* choose auto, cpu"
    ) as caught:
        resolve_device(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_threads() -> None:
    before = torch.get_num_threads()
    try:
        assert configure(runtime(threads=2)) == CPU
        assert torch.get_num_threads() == 2
        configure(runtime(threads=0))
        assert torch.get_num_threads() == 2, "0 leaves it to torch"
    finally:
        torch.set_num_threads(before)


def test_autocast() -> None:
    a = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize(
    ("predicts", "steps", "on_cuda"),
    [
        ("v", 0, "bfloat16"),
        ("x_eps", 0, "bfloat16"),
        ("v", 1, "bfloat16"),
        ("v", 16, "bfloat16"),
        ("v", 17, "float32"),
        ("x_eps", 512, "float32"),
        ("x", 0, "float32"),
        ("x", 1, "float32"),
        ("eps", 0, "float32"),
    ],
)
def test_auto_is_bfloat16_where_its_noise_drowns_nothing(
    predicts: str, steps: int, on_cuda: str
) -> None:
    exact, auto = needs_float32(predicts, steps), runtime(precision="auto")
    assert precision(torch.device("cuda"), auto, exact) == on_cuda
    assert precision(CPU, auto, exact) == precision(torch.device("mps"), auto, exact) == "float32"
    for name in ("float32", "bfloat16"):  # what is asked for is done
        assert precision(torch.device("cuda"), runtime(precision=name), exact) == name


def test_the_machine_is_described_in_plain_values() -> None:
    found = machine(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert found["name"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_kept() -> None:
    """In a process that would give back every block: 8 MB again and again, pages taken once.

    The heap may still grow now and then, where something small came to lie in a freed block: so
    the fewest page faults of several rounds count.
    """
    gives_back = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    script = """
import resource, torch
from pdpipe.runtime import keep_freed_memory
def faults():
    def work():
        a = [torch.ones(2**21) for _ in range(4)]
    for _ in range(3): work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10): work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
left = min(faults() for _ in range(5))
assert keep_freed_memory()
print(left, min(faults() for _ in range(5)))
"""
    command, environment = [sys.executable, "-c", script], {**os.environ, **gives_back}
    left, kept = map(int, subprocess.check_output(command, env=environment, text=True).split())
    assert kept < 100 < left
