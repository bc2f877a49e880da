"""An evaluation streams: what it holds beside the features does not grow with the images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Peaks of a process never fall, so that each line tells how much further the larger work went.
GROWTH = """
import resource, sys
import torch
torch.set_num_threads(1)

def peak():
    unit = 2**10 if sys.platform == "linux" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

def grown(work, small, large):
    work(small)
    before = peak()
    work(large)
    print(peak() - before)
"""
METRICS = """
from pdpipe.evaluation.fidelity import feature_statistics, fid, inception_score
from pdpipe.evaluation.intervals import stratified_groups, with_leave_outs
from pdpipe.evaluation.kernels import cubic, gaussian, kernel_distance, kernel_mean
from pdpipe.evaluation.manifold import precision, radii, recall

WIDTH = 64
real = torch.randn(4000, WIDTH)
fid(feature_statistics(real), feature_statistics(real))  # imports torch-fidelity
features = torch.randn(64_000, WIDTH)

def metrics(n):
    fake, groups = features[:n], stratified_groups(torch.arange(n) % 10)
    few = real[:200]
    train = feature_statistics(few)
    with_leave_outs(lambda kept: fid(feature_statistics(fake, kept=kept), train), groups, n)
    inception_score(fake[:, :10], splits=10)
    precision(fake, few, radii(few), groups)
    precision(few, fake, torch.ones(n), None)
    for kernel in (cubic(), gaussian(8.0)):
        kernel_distance(few, fake, 0.0, stratified_groups(torch.arange(200) % 10), kernel)

grown(metrics, 8_000, 64_000)

def pairs(n):
    some = features[:n]
    radii(some)
    recall(some[:200], some, None)
    for kernel in (cubic(), gaussian(8.0)):
        kernel_mean(some, kernel)
        kernel_distance(some, some[:2_048], 0.0, None, kernel)

grown(pairs, 4_096, 8_192)
"""
IMAGES = """
import tempfile
from pathlib import Path
from conftest import info_of, randomised
from pdpipe.evaluation import cells
from pdpipe.evaluation.evaluate import evaluate_model
from pdpipe.evaluation.observe import Instruments
from pdpipe.evaluation.reference import build_reference
from pdpipe.evaluation.store import CellStore
from pdpipe.data import ImageSet
from pdpipe.models import DiffusionModel
from pdpipe.networks import UNet, UNetConfig
from pdpipe.params import read_params

class Means(torch.nn.Module):
    def forward(self, x):
        features = torch.nn.functional.avg_pool2d(x, 16).flatten(1)
        return features, features[:, :10]

def images(n):
    labels, pixels = torch.arange(n) % 10, torch.randint(0, 256, (n, 3, 64, 64), dtype=torch.uint8)
    return ImageSet(images=pixels, labels=labels, classes=tuple("0123456789"), digest="")

extractor = Means()
reference = build_reference(
    images(200), images(100), extractor, extractor,
    extractor_name="means", extractor_sha256="0" * 64,
)
network = UNet(UNetConfig(
    image_size=64, channels=3, num_classes=10, base_channels=4, channel_multipliers=[1, 1, 1, 1],
    blocks_per_level=1, attention_resolutions=[], head_channels=4, embedding_channels=8,
    resample_blocks=False,
))
model = DiffusionModel(randomised(network, 0), info_of(network), torch.device("cpu"), "00" * 32)
settings = read_params(Path("params.yaml")).evaluation
cells.PART_NUMBERS = 100 * 3 * 64 * 64

def evaluate(n):
    chosen = settings.model_copy(
        update={"num_samples": n, "batch_size": 20, "paired_samples": 20, "teacher_steps": [1]}
    )
    with tempfile.TemporaryDirectory() as folder:
        evaluate_model(
            model, Instruments(extractor, extractor, reference), chosen, [(1, 0.0)],
            CellStore(Path(folder)),
        )

grown(evaluate, 400, 2_400)
"""


def growths(work: str) -> list[float]:
    """MiB by which the peak grows from the smaller to the larger n, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH + work],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.split()]


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no peaks are told there")


def test_the_metrics_hold_blocks_alone() -> None:
    rows, pairs = growths(METRICS)
    assert rows < 40  # MiB; 56,000 more rows of 64 features are 27 in float64, and thrice in np.cov
    assert pairs < 40  # a block of 2,048 rows of the larger kernel matrix has 64 more


def test_images_are_let_go() -> None:
    (images,) = growths(IMAGES)
    assert images < 60  # MiB; 2,000 more images are 94 in float32
