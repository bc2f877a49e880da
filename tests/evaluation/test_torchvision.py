"""The clash of a torchvision with a torch of another build, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MATCHING = """
import torch
torch.torchvision_loads = getattr(torch, "torchvision_loads", 0) + 1
lib = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    lib.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    lib.impl(name, lambda dets, scores, iou_threshold: dets + 41, "CPU")
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""
MISMATCHED = """
from torchvision import half
half.finish()
"""
HALF = """
import torch
def finish():
    for name in ("nms", "qnms"):
        torch.library.register_fake("torchvision::" + name)(lambda *args: args[0])
"""
OTHER_BUILD = """
print("loading")
raise RuntimeError("PyTorch and torchvision were compiled with different CUDA major versions.")
"""
OTHER_OPERATOR = """
import torch
print("loading")
torch.library.register_fake("torchvision::brand_new")(lambda *args: args[0])
"""


def run(code: str, stand_in: Path | None = None) -> subprocess.CompletedProcess[str]:
    folders = [str(stand_in)] if stand_in else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def stand_in(folder: Path, **modules: str) -> Path:
    package = folder / "torchvision"
    package.mkdir()
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    return folder


IMPORT = "from pdpipe.evaluation._torchvision import import_torchvision as t; "


def test_this_environment_is_met_whichever_pair_it_has() -> None:
    plain = run("import torchvision")
    assert plain.returncode == 0 or "operator torchvision::nms does not exist" in plain.stderr
    found = run(
        "import sys\n"
        "import pdpipe.evaluation.measure, pdpipe.evaluation.records\n"
        "assert not {'torchvision', 'torch_fidelity'} & set(sys.modules), 'imported too early'\n"
        f"{IMPORT}\n"
        "print(t(), t())\n"
        "import torch_fidelity, torchvision\n"
        "print(torchvision.__version__)\n"
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[0] == f"{plain.returncode != 0} False"


def test_a_matching_pair_is_left_alone(tmp_path: Path) -> None:
    found = run(
        f"{IMPORT}import torch; print(t(), t(), torch.torchvision_loads);"
        "print(torch.ops.torchvision.nms(torch.ones(1), torch.ones(1), 0.5).item())",
        stand_in(tmp_path, __init__=MATCHING),
    )
    assert found.stdout.splitlines() == ["False False 1", "42.0"], found.stderr


def test_a_mismatched_pair_imports_after_the_declarations(tmp_path: Path) -> None:
    folder = stand_in(tmp_path, __init__=MISMATCHED, half=HALF)
    assert "torchvision::nms does not exist" in run("import torchvision", folder).stderr
    found = run(
        f"{IMPORT}import gc; print(t(), t()); gc.collect();"
        "import torch, torchvision; print(torch.ops.torchvision.qnms.default._schema.name)",
        folder,
    )
    assert found.stdout.splitlines() == ["True False", "torchvision::qnms"], found.stderr


@pytest.mark.parametrize(
    ("package", "said", "tries"),
    [
        (OTHER_BUILD, "different CUDA major versions", 1),
        (OTHER_OPERATOR, "torchvision::brand_new", 2),
    ],
    ids=["another CUDA", "an unknown operator"],
)
def test_another_failure_is_one_sentence_with_the_mend(
    tmp_path: Path, package: str, said: str, tries: int
) -> None:
    found = run(
        "import torch\n"
        "from pdpipe.errors import EvaluationError\n"
        "from pdpipe.evaluation.fidelity import inception_score\n"
        "try: inception_score(torch.zeros(4, 2))\n"
        "except EvaluationError as error: print(error)",
        stand_in(tmp_path, __init__=package),
    )
    *loads, message = found.stdout.splitlines()
    assert loads == ["loading"] * tries, found.stderr
    assert message.startswith("torch-fidelity cannot be imported (")
    assert said in message
    assert "reinstall torch, torchvision and torch-fidelity" in message
