"""Devices, threads and precision."""

from __future__ import annotations

import json
import platform
from typing import Any

import pytest
import torch

from pdpipe.errors import ParamsError
from pdpipe.params import RuntimeParams
from pdpipe.runtime import autocast, configure, machine, resolve_device

CPU = torch.device("cpu")


def runtime(**changes: Any) -> RuntimeParams:
    values: dict[str, Any] = {
        "device": "cpu",
        "threads": 0,
        "workers": 0,
        "precision": "float32",
        "compile": False,
        "snapshot_seconds": 10.0,
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


def test_precision() -> None:
    a = torch.ones(2, 2)
    with autocast(CPU, runtime(precision="bfloat16")):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, runtime()):
        assert (a @ a).dtype == torch.float32


def test_the_machine_is_described_in_plain_values() -> None:
    found = machine(CPU)
    assert json.loads(json.dumps(found)) == found
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()
    assert found["name"]
