"""Features and logits of images by a classifier: what FID and the inception score are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdpipe.data import to_unit
from pdpipe.errors import EvaluationError

_PIXELS = 2**19  # given to a classifier at once, which bounds what it holds between its layers


@dataclass(frozen=True, eq=False)
class Features:
    """What a classifier says of n images, in main memory and in their order."""

    features: Tensor  # (n, D) float32
    logits: Tensor  # (n, K) float32

    def right(self, labels: Tensor) -> Tensor:
        """Whether each image's largest logit is at its label (n,) int64; (n,) bool."""
        check_labels(labels, len(self.logits))
        return self.logits.argmax(dim=1) == labels.cpu()

    def accuracy(self, labels: Tensor) -> float:
        """The share of the images whose largest logit is at their label (n,) int64."""
        return float(self.right(labels).double().mean())


@torch.no_grad()
def extract_features(
    classifier: nn.Module,
    images: Tensor | Iterable[Tensor],
    *,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
) -> Features:
    """Features and logits of `images`, in float32 whatever precision the caller runs in.

    The classifier moves to `device` and runs in eval mode; its training flags are put back.

    Args:
        classifier: maps x (B, C, H, W) in [-1, 1] to (features (B, D), logits (B, K)).
        images: uint8 (n, C, H, W), or an iterable of such batches of any sizes, which is
            streamed; the values agree to about 1e-6 whatever the batches are.
        batch_size: most images given to the classifier at once; by default 250, fewer large ones.
        device: where it runs.

    Raises:
        EvaluationError: there are no images.
    """
    device = torch.device(device)
    batches = [images] if isinstance(images, Tensor) else images
    features, logits = [], []
    with _exact_inference(classifier.to(device), device):
        for batch in batches:
            assert batch.dtype == torch.uint8, f"images must be uint8, got {batch.dtype}"
            assert batch.ndim == 4, f"images must be (n, C, H, W), got {tuple(batch.shape)}"
            for part in batch.split(batch_size or _fitting(batch)):
                f, k = classifier(to_unit(part.to(device)))
                features.append(f.float().cpu())
                logits.append(k.float().cpu())
    if sum(map(len, features)) == 0:
        raise EvaluationError("there are no images to measure: generate at least 2")
    return Features(torch.cat(features), torch.cat(logits))


def _fitting(images: Tensor) -> int:
    """How many of the images (n, C, H, W) a classifier is given at once."""
    return max(min(250, _PIXELS // (images.shape[2] * images.shape[3])), 1)


@contextmanager
def _exact_inference(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Eval mode, no autocast, no TF32, fixed algorithms; each submodule's flag is put back."""
    training = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        for part, flag in training.items():
            part.training = flag


def check_labels(labels: Tensor, count: int) -> None:
    """Raise `EvaluationError` unless `labels` is one integer for each of `count` images."""
    if labels.shape != (count,) or labels.is_floating_point():
        raise EvaluationError(
            f"accuracy needs one integer label for each of {count} images, got "
            f"{labels.dtype} of shape {tuple(labels.shape)}: pass the labels they were made for"
        )
