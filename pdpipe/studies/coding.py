"""What encodes images, decodes noise and judges what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pdpipe.data import to_uint8
from pdpipe.evaluation.features import extract_features
from pdpipe.models import DiffusionModel, decode_noise, encode_images, sample_noise
from pdpipe.params import CoderParams, EvaluationParams


@dataclass(frozen=True, kw_only=True)
class Coding:
    """One way to encode, and the noise that it made of the images."""

    method: str
    encoder: str  # the model; "" for fresh noise
    steps: int
    nfe: int  # network evaluations an image
    z_1: Tensor  # (n, C, H, W)


@dataclass(frozen=True)
class Judge:
    """The classifier that says of which class an image is."""

    network: nn.Module
    name: str
    sha256: str

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """The share of images x in [-1, 1] that it takes to be of their labels."""
        device = next(self.network.parameters()).device
        return extract_features(self.network, to_uint8(x), device=device).accuracy(labels)


@dataclass(frozen=True, kw_only=True)
class Rig:
    """What images are encoded, decoded and judged with."""

    models: Mapping[str, DiffusionModel]  # {file: model}
    judge: Judge
    settings: EvaluationParams

    def encode(
        self, method: str, coder: CoderParams, x: Tensor, labels: Tensor, w: float
    ) -> Coding:
        """Images led to noise by a model, under the name of its method."""
        model, size = self.models[coder.model], self.settings.batch_size
        return Coding(
            method=method,
            encoder=model.info.name,
            steps=coder.steps,
            nfe=coder.steps * model.evaluations_per_step(w),
            z_1=encode_images(model, x, labels, w=w, steps=coder.steps, batch_size=size),
        )

    def decode(self, coder: CoderParams, z_1: Tensor, labels: Tensor, w: float) -> Tensor:
        """x of noise, clamped to [-1, 1], (n, C, H, W)."""
        found = decode_noise(
            self.models[coder.model],
            z_1,
            labels,
            w=w,
            steps=coder.steps,
            clip=self.settings.clip,
            batch_size=self.settings.batch_size,
        )
        return found.clamp(-1.0, 1.0)

    def fresh_noise(self, x: Tensor) -> Coding:
        """Noise of no image, in place of an encoding: what is decoded from it kept nothing."""
        noise = sample_noise(x.shape[1:], self.settings.seed, 0, len(x))
        return Coding(method="no encoder: fresh noise", encoder="", steps=0, nfe=0, z_1=noise)

    def name(self, coder: CoderParams) -> str:
        """A model and its steps, as the report calls them."""
        steps = f"{coder.steps} step{'s' * (coder.steps > 1)}"
        return f"{self.models[coder.model].info.name}, {steps}"


def image_errors(a: Tensor, b: Tensor) -> Tensor:
    """The mean squared difference of each image from its partner, (n,) float64."""
    return (a.double() - b.double()).square().flatten(1).mean(dim=1)


def mean_and_error(values: Tensor) -> tuple[float, float | None]:
    """The mean of independent values (n,), and its standard error; None for a single value."""
    mean = float(values.mean())
    return mean, float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
