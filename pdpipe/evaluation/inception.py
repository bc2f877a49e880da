"""The Inception network of published FIDs, by torch-fidelity, from a weights file on this machine.

Nothing is downloaded, and no code runs that a weights file could bring: torch-fidelity reads its
file without restriction, so it is given one that was written here, from tensors alone.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from pdpipe.data import to_uint8
from pdpipe.errors import EvaluationError, brief
from pdpipe.evaluation.fidelity import torch_fidelity
from pdpipe.files import digest_file

NAME = "inception-v3-compat"
SHA256 = "6726825d"  # how the digest of the published weights begins
_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
_GET = f"download {_URL} and name its path in PDPIPE_WEIGHTS or runtime.weights"
_AT_ONCE = 16  # enlarged images in main memory


class Inception(nn.Module):
    """x (B, C, H, W) in [-1, 1], grey or RGB -> (features (B, 2048), logits (B, 1008)).

    The logits are without bias, as in published inception scores. Images pass through uint8, and
    are enlarged to 299 pixels as TensorFlow 1 did; off a GPU a few at a time, for memory.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        module = torch_fidelity("feature_extractor_inceptionv3")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pth"
            torch.save(state, path)
            self.network = module.FeatureExtractorInceptionV3(
                NAME, ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of images x."""
        images = to_uint8(x)
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        few = len(images) if images.is_cuda else _AT_ONCE
        found = [self.network(part) for part in torch.split(images, max(few, 1))]
        features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))
        return features, logits


def check_weights(path: Path | None, sha256: str) -> tuple[Path, str]:
    """The weights file that was named, and its sha256.

    Args:
        path: as the user gave it; None: not at all.
        sha256: how the digest of the file must begin.

    Raises:
        EvaluationError: no file, or another.
    """
    if path is None:
        raise EvaluationError(f"evaluation.extractor {NAME} needs a weights file: {_GET}")
    if not path.is_file():
        problem = "is no file" if path.exists() else "does not exist"
        raise EvaluationError(f"the weights file {path} {problem}: {_GET}")
    found = digest_file(path)
    if not found.startswith(sha256.lower()):
        raise EvaluationError(
            f"the weights file {path} has sha256 {found[:16]}…, which does not begin with "
            f"evaluation.weights_sha256 ({sha256}), so its figures would be of another network: "
            "name the right file, or change that setting if you mean this one"
        )
    return path, found


def load_inception(path: Path | None, sha256: str) -> tuple[Inception, str]:
    """The network with the weights in a file, and the file's sha256.

    Args:
        path: a state dict as torch-fidelity publishes it; None: the user named none.
        sha256: how the digest of the file must begin.

    Raises:
        EvaluationError: no file, another file, or one that does not hold these weights.
    """
    path, found = check_weights(path, sha256)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return Inception(state), found
    except (
        pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError,
        AttributeError,
    ) as error:  # fmt: skip
        raise EvaluationError(
            f"the weights file {path} does not hold the Inception weights ({brief(error)}): {_GET}"
        ) from None
