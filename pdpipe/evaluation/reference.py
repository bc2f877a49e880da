"""The real side of every measurement, computed once for a data set and an extractor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pdpipe.data import ImageSet
from pdpipe.errors import EvaluationError
from pdpipe.evaluation._record import Record
from pdpipe.evaluation.features import extract_features
from pdpipe.evaluation.fidelity import Statistics, feature_statistics, fid, inception_score
from pdpipe.evaluation.neighbours import nearest_distances, summarize_distances
from pdpipe.evaluation.records import Extractor, Floor, FloorProtocol, FloorRecord
from pdpipe.files import replacing

CLOSE_QUANTILE = 0.01  # of the held-out images' nearest distances: nearer than this is "close"
_METADATA = "reference"
_MEND = "run `dvc repro reference`"


@dataclass(frozen=True, eq=False, kw_only=True)
class Reference:
    """What the metrics need of the real images; n training and m held-out ones."""

    extractor: Extractor
    train: Statistics  # of the training images' features
    train_features: Tensor  # (n, D) float32
    train_images: Tensor  # (n, C, H, W) uint8
    heldout_features: Tensor  # (m, D) float32
    heldout_distances: Tensor  # (m,) float64, each to the nearest training image
    is_train: float
    is_heldout: float

    @property
    def num_train(self) -> int:
        """The number of training images."""
        return len(self.train_images)

    @property
    def num_heldout(self) -> int:
        """The number of held-out images."""
        return len(self.heldout_features)

    @property
    def nearest_threshold(self) -> float:
        """The distance under which an image is close to the training set: 1 % of real ones are."""
        return float(self.heldout_distances.quantile(CLOSE_QUANTILE))


def build_reference(
    train: ImageSet,
    heldout: ImageSet,
    classifier: nn.Module,
    *,
    extractor_name: str,
    extractor_sha256: str,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> Reference:
    """The reference of a data set: both splits as they are, which should be stratified.

    Args:
        train: the training split, which generated images are compared with.
        heldout: the held-out split, which gives the floor.
        classifier: the extractor; its logits are of `train.classes`.
        extractor_name: how results name it.
        extractor_sha256: of its file.
        batch_size: most images given to the classifier at once.
        device: where it runs.

    Raises:
        EvaluationError: the splits or the classifier do not fit each other, or are too small.
    """
    found = extract_features(classifier, train.images, batch_size=batch_size, device=device)
    held = extract_features(classifier, heldout.images, batch_size=batch_size, device=device)
    _check_classes(train.classes, heldout.classes, found.logits.shape[1])
    feature_statistics(held.features, of="the held-out images")  # the floor needs it: fail early
    return Reference(
        extractor=Extractor(
            name=extractor_name,
            sha256=extractor_sha256,
            features=found.features.shape[1],
            heldout_accuracy=held.accuracy(heldout.labels),
        ),
        train=feature_statistics(found.features, of="the training images"),
        train_features=found.features,
        train_images=train.images,
        heldout_features=held.features,
        heldout_distances=nearest_distances(heldout.images, train.images, device=device),
        is_train=inception_score(found.logits),
        is_heldout=inception_score(held.logits),
    )


def floor_record(reference: Reference) -> FloorRecord:
    """What a perfect model would score: held-out real images measured against the training set.

    Its FID is of fewer images than a model's, which raises it: a model that makes more images can
    score below it.
    """
    heldout = feature_statistics(reference.heldout_features, of="the held-out images")
    threshold = reference.nearest_threshold
    nearest = summarize_distances(reference.heldout_distances, threshold)
    return FloorRecord(
        protocol=FloorProtocol(
            extractor=reference.extractor,
            num_heldout=reference.num_heldout,
            num_train=reference.num_train,
        ),
        floor=Floor(
            fid=fid(heldout, reference.train),
            is_train=reference.is_train,
            is_heldout=reference.is_heldout,
            accuracy_heldout=reference.extractor.heldout_accuracy,
            nearest_median=nearest.median,
            nearest_close=nearest.close,
            nearest_threshold=threshold,
        ),
    )


def save_reference(path: Path, reference: Reference) -> None:
    """Write a reference as safetensors, atomically; equal references give equal bytes."""
    tensors = {
        "train/mu": reference.train.mu,
        "train/sigma": reference.train.sigma,
        "train/features": reference.train_features,
        "train/images": reference.train_images,
        "heldout/features": reference.heldout_features,
        "heldout/distances": reference.heldout_distances,
    }
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = _Metadata(
        extractor=reference.extractor,
        is_train=reference.is_train,
        is_heldout=reference.is_heldout,
        tensors_sha256=_digest(tensors),
    )
    with replacing(path) as temporary:
        save_file(tensors, temporary, {_METADATA: metadata.model_dump_json()})


def load_reference(path: Path, *, extractor_sha256: str | None = None) -> Reference:
    """The reference in a file that `save_reference` wrote; loading runs no code.

    Args:
        path: the file.
        extractor_sha256: of the extractor about to be used, which must be the reference's.

    Raises:
        EvaluationError: the file is missing or damaged, or is of another extractor.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = _Metadata.model_validate_json(file.metadata()[_METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if _digest(tensors) != metadata.tensors_sha256:
            raise ValueError("its checksum does not match")
        reference = _assembled(metadata, tensors)
    except FileNotFoundError:
        raise EvaluationError(f"{path} does not exist: {_MEND}, which makes it") from None
    except (SafetensorError, EvaluationError, KeyError, TypeError, ValueError, OSError) as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise EvaluationError(
            f"{path} is not a reference or is damaged ({detail}): delete it and {_MEND}"
        ) from None
    if extractor_sha256 not in (None, reference.extractor.sha256):
        raise EvaluationError(
            f"{path} was made with another extractor (sha256 {reference.extractor.sha256[:12]}…, "
            f"not {str(extractor_sha256)[:12]}…): {_MEND}"
        )
    return reference


class _Metadata(Record):
    format: Literal["pdpipe-reference-1"] = "pdpipe-reference-1"
    extractor: Extractor
    is_train: float
    is_heldout: float
    tensors_sha256: str


def _assembled(metadata: _Metadata, tensors: dict[str, Tensor]) -> Reference:
    return Reference(
        extractor=metadata.extractor,
        train=Statistics(
            tensors["train/mu"], tensors["train/sigma"], len(tensors["train/features"])
        ),
        train_features=tensors["train/features"],
        train_images=tensors["train/images"],
        heldout_features=tensors["heldout/features"],
        heldout_distances=tensors["heldout/distances"],
        is_train=metadata.is_train,
        is_heldout=metadata.is_heldout,
    )


def _digest(tensors: dict[str, Tensor]) -> str:
    """sha256 of the names, types, shapes and bytes of the tensors."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def _check_classes(train: tuple[str, ...], heldout: tuple[str, ...], num_logits: int) -> None:
    if train != heldout or len(train) != num_logits:
        raise EvaluationError(
            f"the training split has {len(train)} classes, the held-out split {len(heldout)} and "
            f"the extractor {num_logits}, and they must be the same: run `dvc repro reference` to "
            "make them from one data set"
        )
