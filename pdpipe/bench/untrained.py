"""The models of a chain before any training: as the stages build them, for data of a given size."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pdpipe.data import read_manifest
from pdpipe.errors import DataError
from pdpipe.methods import method_of
from pdpipe.methods.extractor import extractor_plan
from pdpipe.methods.tasks import guide_task
from pdpipe.methods.teacher import teacher_plan
from pdpipe.models import DiffusionModel, ModelInfo
from pdpipe.networks import Classifier, Network
from pdpipe.params import Params
from pdpipe.plan import Plan
from pdpipe.runtime import autocast, needs_float32, precision

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
    """A chain's plans and models, untrained, on the device and in the precision of its settings."""

    extractor: Plan
    teacher_plan: Plan
    teacher: DiffusionModel
    student: DiffusionModel  # of stage one; the rungs have the same network
    classifier: Classifier  # the extractor's


def untrained_models(params: Params, size: DataSize, device: torch.device) -> Untrained:
    """The models that the stages would begin with."""
    side, channels = params.data.image_size, params.data.channels
    classes = [str(k) for k in range(size.classes)]
    begun = teacher_plan(
        (channels, side, side), classes, params.teacher, params.network, params.schedule, 0, {}
    )
    teacher = _model(begun, params, device)
    student = method_of("guide").plan(teacher, guide_task(params), 0, {})
    extractor = extractor_plan(channels, size.classes, params.extractor, 0)
    assert isinstance(extractor.network, Classifier)
    classifier = copy.deepcopy(extractor.network).to(device)
    return Untrained(extractor, begun, teacher, _model(student, params, device), classifier)


def _model(plan: Plan, params: Params, device: torch.device) -> DiffusionModel:
    """A plan's network as a model in use."""
    assert isinstance(plan.info, ModelInfo)
    assert isinstance(plan.network, Network)
    network = copy.deepcopy(plan.network).to(device).eval().requires_grad_(False)
    model = DiffusionModel(network, plan.info, device, sha256="")
    chosen = precision(device, params.runtime, needs_float32(plan.info.parameterization))
    model.autocast = partial(autocast, device, chosen)
    return model
