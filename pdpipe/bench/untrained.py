"""The models of a chain before any training: as the stages build them, for data of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pdpipe.bench.setting import config_of
from pdpipe.data import read_manifest
from pdpipe.errors import DataError
from pdpipe.models import DiffusionModel
from pdpipe.networks import Classifier, UNet
from pdpipe.params import Params
from pdpipe.runtime import autocast, needs_float32, precision
from pdpipe.training.extractor import classifier_config
from pdpipe.training.guide import student_info, student_of
from pdpipe.training.teacher import teacher_info

ASSUMED_CLASSES = 10
ASSUMED_IMAGES = 10_000


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """How many classes and images the data have."""

    classes: int
    train: int
    heldout: int
    known: bool  # from the manifest of the shards, not assumed

    def __str__(self) -> str:
        classes = "1 class" if self.classes == 1 else f"{self.classes} classes"
        counts = f"{classes}, {self.train:,} + {self.heldout:,} images"
        return f"{counts} ({'by the shards' if self.known else 'assumed: there are no shards'})"


def data_size(params: Params, shards: Path) -> DataSize:
    """The size by the manifest in `shards`, if that is of these params; else an assumption."""
    side = params.data.image_size
    try:
        manifest = read_manifest(shards)
    except DataError:
        manifest = None
    ours = (params.data.source, (params.data.channels, side, side))
    if manifest is not None and (manifest.source, manifest.image_shape) == ours:
        return DataSize(
            classes=len(manifest.classes),
            train=manifest.split("train").count,
            heldout=manifest.split("heldout").count,
            known=True,
        )
    heldout = max(round(params.data.heldout_fraction * ASSUMED_IMAGES), ASSUMED_CLASSES)
    return DataSize(
        classes=ASSUMED_CLASSES, train=ASSUMED_IMAGES - heldout, heldout=heldout, known=False
    )


@dataclass(frozen=True)
class Untrained:
    """A chain's models, untrained, on the device and in the precision of its settings."""

    teacher: DiffusionModel
    student: DiffusionModel  # of stage one; the rungs have the same network
    classifier: Classifier


def untrained_models(params: Params, size: DataSize, device: torch.device) -> Untrained:
    """The models that the stages would begin with."""
    classes = [str(k) for k in range(size.classes)]
    config = config_of(params, size.classes)
    network = UNet(config).to(device).eval().requires_grad_(False)
    info = teacher_info(config, classes, params.teacher, params.schedule, {})
    guided = student_of(network, params.guide.w_frequencies, params.guide.w_max)
    guided = guided.to(device).eval().requires_grad_(False)
    teacher = DiffusionModel(network, info, device, sha256="")
    student = DiffusionModel(guided, student_info(info, guided, params.guide, {}), device, "")
    chosen = precision(device, params.runtime, needs_float32(info.parameterization))
    teacher.autocast = student.autocast = partial(autocast, device, chosen)
    layout = classifier_config(params.data.channels, size.classes, params.extractor)
    return Untrained(teacher, student, Classifier(layout).to(device))
