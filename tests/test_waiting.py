"""How threads wait is set before torch is there, unless the user has, and changes no bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdpipe.bench.waiting import SETTINGS, _in_process
from pdpipe.waiting import A_SHORT_SPIN, POLICY, SPINS, share_cores


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, {SPINS: A_SHORT_SPIN}),
        ({SPINS: "7"}, {SPINS: "7"}),
        ({POLICY: "ACTIVE"}, {POLICY: "ACTIVE"}),
    ],
)
def test_the_users_own_setting_wins(given: dict[str, str], then: dict[str, str]) -> None:
    environment = dict(given)
    share_cores(environment)
    assert environment == then


@pytest.mark.parametrize(
    "first",
    [
        "import pdpipe.cli; pdpipe.cli.app = lambda: None; pdpipe.cli.main(); import torch",
        "import pdpipe; pdpipe.__dict__['load']('none')",
    ],
)
def test_it_is_set_before_torch_is_imported(first: str) -> None:
    """OpenMP reads the environment when it is loaded, with torch."""
    watch = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch': print(os.environ.get('GOMP_SPINCOUNT')); os._exit(0)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in (SPINS, POLICY)}
    command = [sys.executable, "-c", watch + first]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == f"{A_SHORT_SPIN}\n"


def test_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    digests = {name: _in_process(SETTINGS[name], 0.1)[1] for name in SETTINGS}
    assert len(set(digests.values())) == 1, digests
