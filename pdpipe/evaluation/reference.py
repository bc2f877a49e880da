"""The real side of every measurement, computed once for a data set and an extractor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from pdpipe.data import ImageSet
from pdpipe.errors import DamagedError, EvaluationError, brief
from pdpipe.evaluation.features import extract_features
from pdpipe.evaluation.fidelity import feature_statistics
from pdpipe.evaluation.manifold import NEIGHBOURS
from pdpipe.evaluation.metrics import METRICS, Images, Real, of_real
from pdpipe.evaluation.neighbours import nearest_distances
from pdpipe.evaluation.observe import Observed
from pdpipe.evaluation.records import Extractor, Record
from pdpipe.tensor_files import load_tensors, save_tensors

CLOSE_QUANTILE = 0.01  # of the held-out images' nearest distances: nearer than this is "close"
_METADATA = "reference"
_MEND = "run `dvc repro reference`"


@dataclass(frozen=True, eq=False, kw_only=True)
class Reference(Real):
    """What the metrics need of the real images; n training and m held-out ones."""

    extractor: Extractor
    train_images: Tensor  # (n, C, H, W) uint8
    heldout: Observed  # the held-out images, with the distances of all

    @property
    def num_heldout(self) -> int:
        """The number of held-out images."""
        return len(self.heldout.features)

    @property
    def nearest_threshold(self) -> float:
        """The distance under which an image is close to the training set: 1 % of real ones are."""
        return float(self.heldout.distances.quantile(CLOSE_QUANTILE))


def build_reference(
    train: ImageSet,
    heldout: ImageSet,
    extractor: nn.Module,
    judge: nn.Module,
    *,
    extractor_name: str,
    extractor_sha256: str,
    device: torch.device | str = "cpu",
) -> Reference:
    """The reference of a data set: both splits as they are, which should be stratified.

    Args:
        train: the training split, which generated images are compared with.
        heldout: the held-out split, which gives the floor.
        extractor: the feature network.
        judge: the classifier of the data's classes; may be the extractor itself.
        extractor_name: how results name the extractor.
        extractor_sha256: of its file.
        device: where they run.

    Raises:
        EvaluationError: the splits or the classifier do not fit each other, or are too small.
    """
    _check_sizes(train, heldout)
    found = extract_features(extractor, train.images, device=device)
    held = extract_features(extractor, heldout.images, device=device)
    own = judge is extractor
    judged = held if own else extract_features(judge, heldout.images, device=device)
    _check_classes(train.classes, heldout.classes, judged.logits.shape[1])
    feature_statistics(held.features, of="the held-out images")  # the floor needs it: fail early
    real = Images(features=found.features, logits=found.logits, labels=train.labels)
    return Reference(
        extractor=Extractor(
            name=extractor_name,
            sha256=extractor_sha256,
            features=found.features.shape[1],
            heldout_accuracy=judged.accuracy(heldout.labels) if own else None,
        ),
        train_features=found.features,
        train_images=train.images,
        state=of_real(real),
        heldout=Observed(
            features=held.features,
            logits=held.logits,
            labels=heldout.labels,
            right=judged.right(heldout.labels),
            distances=nearest_distances(heldout.images, train.images, device=device),
        ),
    )


def save_reference(path: Path, reference: Reference) -> None:
    """Write a reference as safetensors, atomically; equal references give equal bytes."""
    tensors = {
        "train/features": reference.train_features,
        "train/images": reference.train_images,
        **{
            f"metric/{key}/{name}": tensor
            for key, state in reference.state.items()
            for name, tensor in state.items()
        },
        **{f"heldout/{name}": tensor for name, tensor in reference.heldout.tensors().items()},
    }
    metadata = _Metadata(extractor=reference.extractor)
    save_tensors(path, tensors, _METADATA, metadata.model_dump(mode="json"))


def load_reference(path: Path, *, extractor_sha256: str | None = None) -> Reference:
    """The reference in a file that `save_reference` wrote; loading runs no code.

    Args:
        path: the file.
        extractor_sha256: of the extractor about to be used, which must be the reference's.

    Raises:
        EvaluationError: the file is missing or damaged, or is of another extractor.
    """
    try:
        tensors, about = load_tensors(path, _METADATA, must_have_digest=True)
        metadata = _Metadata.model_validate_json(json.dumps(about))
        reference = _assembled(metadata, tensors)
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist: {_MEND}, which makes it") from None
    except (DamagedError, EvaluationError, KeyError, ValueError) as error:
        raise EvaluationError(
            f"{path} is not a reference or is damaged ({brief(error)}): delete it and {_MEND}"
        ) from None
    if extractor_sha256 not in (None, reference.extractor.sha256):
        raise EvaluationError(
            f"{path} was made with another extractor (sha256 {reference.extractor.sha256[:12]}…, "
            f"not {str(extractor_sha256)[:12]}…): {_MEND}"
        )
    return reference


class _Metadata(Record):
    format: Literal["pdpipe-reference-3"] = "pdpipe-reference-3"
    extractor: Extractor


def _assembled(metadata: _Metadata, tensors: dict[str, Tensor]) -> Reference:
    state: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        if path.startswith("metric/"):
            _, key, name = path.split("/")
            state.setdefault(key, {})[name] = tensor
    missing = {key for key, metric in METRICS.items() if metric.of_real} - state.keys()
    if missing:
        raise ValueError(f"it is older than the metric {min(missing)}")
    return Reference(
        extractor=metadata.extractor,
        train_features=tensors["train/features"],
        train_images=tensors["train/images"],
        state=state,
        heldout=Observed.of({name.removeprefix("heldout/"): t for name, t in tensors.items()}),
    )


def _check_sizes(train: ImageSet, heldout: ImageSet) -> None:
    for split, images, change in (("training", train, "lower"), ("held-out", heldout, "raise")):
        if len(images) <= NEIGHBOURS:
            raise EvaluationError(
                f"the {split} split has {len(images)} images, and figures need more than "
                f"{NEIGHBOURS}: add images to the data, or {change} data.heldout_fraction"
            )


def _check_classes(train: tuple[str, ...], heldout: tuple[str, ...], num_logits: int) -> None:
    if train != heldout or len(train) != num_logits:
        raise EvaluationError(
            f"the training split has {len(train)} classes, the held-out split {len(heldout)} and "
            f"the extractor {num_logits}, and they must be the same: run `dvc repro reference` to "
            "make them from one data set"
        )
