"""Stage `extractor`: a small classifier whose features stand behind the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pdpipe.data import ImageSet, to_unit
from pdpipe.errors import TrainingError
from pdpipe.models import ClassifierInfo
from pdpipe.networks import Classifier, ClassifierConfig
from pdpipe.params import ExtractorParams
from pdpipe.plan import Batch, Objective, Optimization, Plan, Work
from pdpipe.seeds import derive_seed


def extractor_objective(label_smoothing: float) -> Objective:
    """(classifier, batch) -> cross-entropy with smoothed labels."""

    def objective(network: Classifier, batch: Batch) -> Tensor:
        _, logits = network(batch.x)
        assert batch.given.label is not None
        return F.cross_entropy(logits, batch.given.label, label_smoothing=label_smoothing)

    return objective


def extractor_plan(channels: int, num_classes: int, extractor: ExtractorParams, seed: int) -> Plan:
    """The training of a classifier for images of so many channels and classes."""
    config = ClassifierConfig(
        channels=channels,
        num_classes=num_classes,
        features=extractor.features,
        dropout=extractor.dropout,
    )
    torch.manual_seed(derive_seed(seed, "extractor network"))
    return Plan(
        network=Classifier(config),
        objective=extractor_objective(extractor.label_smoothing),
        optimization=Optimization(
            updates=extractor.updates,
            batch_size=extractor.batch_size,
            learning_rate=extractor.learning_rate,
            warmup=10,
            anneal=1.0,
            betas=(0.9, 0.999),
            weight_decay=0.01,
            grad_clip=1.0,
            ema_decay=0.98,
        ),
        info=None,
        work=extractor_work(extractor),
    )


def extractor_work(extractor: ExtractorParams, *, shipped: bool = False) -> Work:
    """What its training costs; nothing of one that is shipped."""
    updates = 0 if shipped else extractor.updates
    return Work(updates=updates, batch_size=extractor.batch_size, forwards=1)


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


def extractor_info(
    trained: Classifier,
    heldout: ImageSet,
    name: str,
    min_accuracy: float,
    provenance: Mapping[str, Any],
) -> ClassifierInfo:
    """What is stored beside a trained classifier.

    Raises:
        TrainingError: it labels fewer of the held-out images rightly than `min_accuracy`.
    """
    right = accuracy(trained, heldout)
    if right < min_accuracy:
        raise TrainingError(
            f"the extractor labels {right:.2%} of the held-out images rightly, below "
            f"extractor.min_accuracy ({min_accuracy:.2%}): give it more updates, or "
            "lower the bound if the classes cannot be told apart better"
        )
    return ClassifierInfo(
        name=name,
        network=vars(trained.config).copy(),
        classes=list(heldout.classes),
        heldout_accuracy=round(right, 6),
        provenance=dict(provenance),
    )
