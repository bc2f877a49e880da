"""Stage `extractor`: a small classifier whose features stand behind the figures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pdpipe.data import ImageSet, to_unit
from pdpipe.errors import TrainingError
from pdpipe.models import ClassifierInfo
from pdpipe.networks import Classifier, ClassifierConfig
from pdpipe.params import ExtractorParams
from pdpipe.seeds import derive_seed
from pdpipe.training.job import Batch, Job, Objective, Optimization, TrainingCost
from pdpipe.training.loop import train
from pdpipe.training.work import extractor_work


def extractor_objective(label_smoothing: float) -> Objective:
    """(classifier, batch) -> cross-entropy with smoothed labels."""

    def objective(network: Classifier, batch: Batch) -> Tensor:
        _, logits = network(batch.x)
        return F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)

    return objective


def classifier_config(
    channels: int, num_classes: int, extractor: ExtractorParams
) -> ClassifierConfig:
    """The classifier for images of so many channels and classes."""
    return ClassifierConfig(
        channels=channels,
        num_classes=num_classes,
        features=extractor.features,
        dropout=extractor.dropout,
    )


def extractor_optimization(extractor: ExtractorParams) -> Optimization:
    """The optimiser settings of the stage."""
    return Optimization(
        updates=extractor.updates,
        batch_size=extractor.batch_size,
        learning_rate=extractor.learning_rate,
        warmup=10,
        anneal=1.0,
        betas=(0.9, 0.999),
        weight_decay=0.01,
        grad_clip=1.0,
        ema_decay=0.98,
    )


@torch.no_grad()
def accuracy(network: Classifier, images: ImageSet, batch_size: int = 500) -> float:
    """The share of images that the classifier labels rightly."""
    device = next(network.parameters()).device
    right = 0
    for start in range(0, len(images.labels), batch_size):
        part = slice(start, start + batch_size)
        _, logits = network(to_unit(images.images[part]).to(device))
        right += int((logits.argmax(1).cpu() == images.labels[part]).sum())
    return right / len(images.labels)


def train_extractor(
    job: Job,
    images: ImageSet,
    heldout: ImageSet,
    extractor: ExtractorParams,
    name: str,
    provenance: dict[str, Any],
) -> tuple[Classifier, ClassifierInfo, TrainingCost]:
    """The trained classifier, its metadata and its cost.

    Raises:
        TrainingError: its held-out accuracy is below `extractor.min_accuracy`.
    """
    config = classifier_config(images.images.shape[1], len(images.classes), extractor)
    torch.manual_seed(derive_seed(job.seed, "extractor network"))
    untrained = Classifier(config)
    settings = extractor_optimization(extractor)
    trained, seconds = train(
        job, untrained, extractor_objective(extractor.label_smoothing), images, settings
    )
    right = accuracy(trained, heldout)
    if right < extractor.min_accuracy:
        raise TrainingError(
            f"the extractor labels {right:.2%} of the held-out images rightly, below "
            f"extractor.min_accuracy ({extractor.min_accuracy:.2%}): give it more updates, or "
            "lower the bound if the classes cannot be told apart better"
        )
    info = ClassifierInfo(
        name=name,
        network=vars(config).copy(),
        classes=list(images.classes),
        heldout_accuracy=round(right, 6),
        provenance=provenance,
    )
    return trained, info, extractor_work(extractor).cost(seconds)
