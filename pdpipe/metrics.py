"""The pipeline's metrics of any images, each with its interval, its extractor and its count.

    fid = pdpipe.metrics.fid(images, reference, extractor="digits-cnn")
    print(fid)  # FID-1500[digits-cnn] 0.45 (0.41 to 0.49)

The values are computed by the code that stage `evaluate` runs. The interval is of 95 %: a jackknife
over ten groups of the images, with the reference taken as fixed. It says how the figure would move
with other images of the same kind, as many as these. It does not hold the figure of infinitely many
images: FID, IS and recall change with their number, so compare equal counts, by one extractor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from pdpipe import extractors
from pdpipe.errors import EvaluationError, counted, did_you_mean
from pdpipe.evaluation import inception
from pdpipe.evaluation.features import Features, extract_features
from pdpipe.evaluation.intervals import stratified_groups
from pdpipe.evaluation.metrics import METRICS, Real, of_real
from pdpipe.evaluation.metrics import Images as Seen
from pdpipe.evaluation.records import JACKKNIFE_DOF
from pdpipe.files import digest_file
from pdpipe.models import load_classifier
from pdpipe.params import environment_runtime
from pdpipe.pictures import Images, as_uint8
from pdpipe.runtime import resolve_device

__all__ = [
    "ImageFeatures",
    "Measurement",
    "features",
    "fid",
    "inception_score",
    "kid",
    "measure",
    "mmd",
    "precision",
    "recall",
]
Extractor = str | Path | nn.Module
Labels = Sequence[int] | Tensor
_LEVEL = 0.95


@dataclass(frozen=True)
class Measurement:
    """A figure that is never read bare: it prints with count, extractor and interval.

    Attributes:
        metric: its name, such as FID.
        value: the figure; its range is the metric's own.
        se: its standard error, by the jackknife; None for fewer than 10 images, or of a class.
        interval: the 95 % interval (low, high) by Student's t, cut where the metric's range ends;
            None where there is no standard error.
        count: how many images it is of.
        reference_count: how many they are compared with; None for the inception score.
        extractor: the name of the network whose features it is of.

    Examples:
        >>> found = pdpipe.metrics.Measurement("FID", 0.45, 0.02, (0.41, 0.49), 1500, 1581, "cnn")
        >>> print(found)
        FID-1500[cnn] 0.45 (0.41 to 0.49)
        >>> float(found)
        0.45
    """

    metric: str
    value: float
    se: float | None
    interval: tuple[float, float] | None
    count: int
    reference_count: int | None
    extractor: str
    decimals: int = field(default=2, repr=False, compare=False)

    @property
    def name(self) -> str:
        """`FID-1500[digits-cnn]`: the metric with all that it must be compared at."""
        return f"{self.metric}-{self.count}[{self.extractor}]"

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.name} {self.value:.{self.decimals}f} (no interval)"
        width = self.interval[1] - self.interval[0]
        fine = math.ceil(-math.log10(width / 2)) if width > 0 else 0
        decimals = max(self.decimals, fine)  # that a narrow interval is seen
        low, high = (f"{end:.{decimals}f}" for end in self.interval)
        return f"{self.name} {self.value:.{decimals}f} ({low} to {high})"


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What an extractor says of n images: `features` makes it, and every metric takes it.

    Attributes:
        features: (n, D), float32, on the CPU.
        logits: (n, K), float32, on the CPU; only the inception score looks at them.
        extractor: the name of the extractor.
        sha256: of its file; empty for a module of one's own.
        size: (H, W) of the images.

    Examples:
        >>> x = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8)
        >>> seen = pdpipe.metrics.features(x, extractor="digits-cnn")
        >>> seen
        ImageFeatures(20 images, digits-cnn)
        >>> seen.features.shape, seen.logits.shape
        (torch.Size([20, 128]), torch.Size([20, 10]))
    """

    features: Tensor
    logits: Tensor
    extractor: str
    sha256: str
    size: tuple[int, int]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.features)

    def __repr__(self) -> str:
        return f"ImageFeatures({counted(len(self), 'image')}, {self.extractor})"


def features(images: Images, *, extractor: Extractor, device: str = "auto") -> ImageFeatures:
    """What an extractor says of some images: made once, for many comparisons.

    Args:
        images: a tensor or array (n, C, H, W), C = 1 or 3, uint8 or float in [-1, 1]; a list of
            PIL images of one size; or the path of a folder, in which every image file is read,
            those in its sub-folders too. Floats are rounded to uint8, as the pipeline does;
            nothing is resized.
        extractor: `digits-cnn`, which comes with the package and knows scikit-learn's 8 x 8 digits;
            the path of an extractor that a chain made, `models/extractor.safetensors`; the path
            of torch-fidelity's Inception weights (`.pth`), or `inception-v3-compat` where
            PDPIPE_WEIGHTS names that file; or a torch module of your own, from x (B, C, H, W) in
            [-1, 1] to (features (B, D), logits (B, K)).
        device: where it runs: `auto` (cuda, then mps, then cpu) or a torch device name.

    Raises:
        DataError: images of another shape, type, range or size, or none.
        EvaluationError: no such extractor, or one that does not take these images.
        ModelError: the extractor's file is damaged or of something else.

    Examples:
        >>> x = torch.rand(20, 1, 8, 8) * 2 - 1
        >>> pdpipe.metrics.features(x, extractor="digits-cnn").features.shape
        torch.Size([20, 128])
    """
    return _seen(images, _opened(extractor, device))


def measure(
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures | None = None,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    metrics: Sequence[str] | None = None,
    device: str = "auto",
) -> dict[str, Measurement]:
    """Several metrics of the same images, whose features are extracted once.

    Args:
        images: to be measured, as for `features`, or what `features` gave.
        reference: what they are compared with, real images as a rule; in the same forms.
        extractor, device: as for `features`; without use where both sides are features already.
        labels: the classes of `images`, (n,), integers from 0; the jackknife then leaves out as
            many of each class, as stage `evaluate` does. Without them its groups are random, and
            the interval is wider where the classes are balanced, that of FID up to three times.
        metrics: of `fid`, `is`, `kid`, `mmd`, `precision` and `recall`; by default all of them, or
            `is` alone without a reference.

    Returns:
        {key: `Measurement`}, in the order of `metrics`.

    Raises:
        DataError: images of another shape, type, range or size, or none.
        EvaluationError: too few images for a metric, sides that do not fit each other, an unknown
            metric, or no such extractor.
        ModelError: the extractor's file is damaged or of something else.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> real = (load_digits().images * 255 / 16).round().astype("uint8")[:, None]
        >>> some = {"extractor": "digits-cnn", "metrics": ["fid", "recall"]}
        >>> for found in pdpipe.metrics.measure(real[:500], real[500:], **some).values():
        ...     print(found)
        FID-500[digits-cnn] ... (... to ...)
        recall-500[digits-cnn] 0... (0... to 0...)
    """
    known = [key for key, metric in METRICS.items() if not metric.of_heldout]
    keys = list(metrics or (["is"] if reference is None else known))
    for key in keys:
        if key not in known:
            raise EvaluationError(f"there is no metric {key!r}: {did_you_mean(key, known)}")
    given = (images,) if reference is None else (images, reference)
    if reference is None and keys != ["is"]:
        raise EvaluationError("only `is` needs no reference: give images to compare with")
    opened = None
    if any(not isinstance(side, ImageFeatures) for side in given):
        if extractor is None:
            raise EvaluationError(
                f"an extractor is missing: give extractor={extractors.NAMES['digits']!r}, the path "
                "of another, or a module"
            )
        opened = _opened(extractor, device)
    mine, *others = (
        side if isinstance(side, ImageFeatures) else _seen(side, opened) for side in given
    )
    theirs = others[0] if others else None
    if theirs is not None:
        _check_fit(mine, theirs)
    seen = _as_seen(mine, _groups(labels, len(mine)))
    real = _real(theirs, keys)
    return {key: _measured(key, seen, real, mine, theirs) for key in keys}


def fid(
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    device: str = "auto",
) -> Measurement:
    """The Fréchet distance of the two sides' features, 0 or more; lower is closer.

    Arguments and errors are those of `measure`. It needs 2 images a side, and is biased upwards by
    about 1/n: compare equal counts.

    Raises:
        DataError, EvaluationError, ModelError: as `measure`.

    Source: Heusel et al. 2017; the distance is torch-fidelity's, in float64.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> real = (load_digits().images * 255 / 16).round().astype("uint8")[:, None]
        >>> found = pdpipe.metrics.fid(real[:900], real[900:], extractor="digits-cnn")
        >>> print(found)
        FID-900[digits-cnn] ... (... to ...)
        >>> found.interval[0] < found.value < found.interval[1]
        True
    """
    return _one("fid", images, reference, extractor, labels, device)


def kid(
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    device: str = "auto",
) -> Measurement:
    """The kernel distance of the two sides' features, without bias: around 0, also below, if alike.

    Arguments and errors are those of `measure`. Of all pairs of images, where others average over
    random subsets.

    Raises:
        DataError, EvaluationError, ModelError: as `measure`.

    Source: Binkowski et al. 2018.

    Examples:
        >>> x = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
        >>> print(pdpipe.metrics.kid(x[:20], x[20:], extractor="digits-cnn"))
        KID-20[digits-cnn] ... (... to ...)
    """
    return _one("kid", images, reference, extractor, labels, device)


def mmd(
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    device: str = "auto",
) -> Measurement:
    """The distance by CMMD's Gaussian kernel, without bias: around 0, also below, if alike.

    Arguments and errors are those of `measure`. The kernel's width is half the median distance
    within the reference, so that it fits any extractor.

    Raises:
        DataError, EvaluationError, ModelError: as `measure`.

    Source: Jayasumana et al. 2024.

    Examples:
        >>> x = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
        >>> print(pdpipe.metrics.mmd(x[:20], x[20:], extractor="digits-cnn"))
        MMD-20[digits-cnn] ... (... to ...)
    """
    return _one("mmd", images, reference, extractor, labels, device)


def precision(
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    device: str = "auto",
) -> Measurement:
    """The share of `images` within the reference's manifold, in [0, 1]: quality.

    Arguments and errors are those of `measure`. The manifold is a ball around each reference image
    that reaches to its 3rd nearest other; it needs 4 images a side.

    Raises:
        DataError, EvaluationError, ModelError: as `measure`.

    Source: Kynkäänniemi et al. 2019.

    Examples:
        >>> x = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
        >>> pdpipe.metrics.precision(x[:20], x, extractor="digits-cnn").value
        1.0
    """
    return _one("precision", images, reference, extractor, labels, device)


def recall(
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    device: str = "auto",
) -> Measurement:
    """The share of the reference within the manifold of `images`, in [0, 1]: variety.

    Arguments and errors are those of `measure`. It grows with the number of images: compare equal
    counts. It needs 4 images a side.

    Raises:
        DataError, EvaluationError, ModelError: as `measure`.

    Source: Kynkäänniemi et al. 2019.

    Examples:
        >>> x = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
        >>> pdpipe.metrics.recall(x, x[:20], extractor="digits-cnn").value
        1.0
    """
    return _one("recall", images, reference, extractor, labels, device)


def inception_score(
    images: Images | ImageFeatures,
    *,
    extractor: Extractor | None = None,
    labels: Labels | None = None,
    device: str = "auto",
) -> Measurement:
    """The inception score of the extractor's logits, from 1 to its number of classes K.

    Arguments and errors are those of `measure`. High where each image is of one class to the
    extractor, and all classes are there; of 50,000 images or more in 10 splits, as published ones.

    Raises:
        DataError, EvaluationError, ModelError: as `measure`.

    Source: Salimans et al. 2016.

    Examples:
        >>> x = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
        >>> found = pdpipe.metrics.inception_score(x, extractor="digits-cnn")
        >>> 1.0 <= found.value <= 10.0
        True
    """
    return _one("is", images, None, extractor, labels, device)


def _one(
    key: str,
    images: Images | ImageFeatures,
    reference: Images | ImageFeatures | None,
    extractor: Extractor | None,
    labels: Labels | None,
    device: str,
) -> Measurement:
    found = measure(
        images, reference, extractor=extractor, labels=labels, metrics=[key], device=device
    )
    return found[key]


def _measured(
    key: str, seen: Seen, real: Real, mine: ImageFeatures, theirs: ImageFeatures | None
) -> Measurement:
    metric = METRICS[key]
    value, se = metric.measure(seen, real)
    assert value is not None
    interval = None
    if se is not None:
        half = float(stdtrit(JACKKNIFE_DOF, (1 + _LEVEL) / 2)) * se
        least = -math.inf if metric.least is None else metric.least
        most = math.inf if metric.most is None else metric.most
        interval = (max(value - half, least), min(value + half, most))
    return Measurement(
        metric=metric.name,
        value=value,
        se=se,
        interval=interval,
        count=len(mine),
        reference_count=None if theirs is None or key == "is" else len(theirs),
        extractor=mine.extractor,
        decimals=metric.decimals,
    )


def _real(theirs: ImageFeatures | None, keys: Sequence[str]) -> Real:
    """What these metrics need of the reference; of none, nothing, which IS alone can do with."""
    if theirs is None:
        return Real(train_features=torch.empty(0, 0), state={})
    needed = [METRICS[key] for key in keys if key != "is"]  # its state is for the tables alone
    return Real(train_features=theirs.features, state=of_real(_as_seen(theirs), needed))


def _as_seen(side: ImageFeatures, groups: Tensor | None = None) -> Seen:
    """Without their classes, which tell no metric of two sets anything: the groups are balanced."""
    classes = torch.zeros(len(side), dtype=torch.int64)
    return Seen(features=side.features, logits=side.logits, labels=classes, groups=groups)


def _groups(labels: Labels | None, count: int) -> Tensor | None:
    """The jackknife group of each image: balanced in the classes, or at random without them."""
    if labels is None:
        groups = stratified_groups(torch.zeros(count, dtype=torch.int64))
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        return None if groups is None else groups[order]
    given = torch.as_tensor(labels)
    whole = not (given.is_floating_point() or given.is_complex() or given.dtype == torch.bool)
    if given.shape != (count,) or not whole or bool((given < 0).any()):
        raise EvaluationError(
            f"labels are one class index, 0 or more, for each of {counted(count, 'image')}: got "
            f"{given.dtype} of shape {tuple(given.shape)}"
        )
    return stratified_groups(given.to(torch.int64).cpu())


def _check_fit(mine: ImageFeatures, theirs: ImageFeatures) -> None:
    if (mine.extractor, mine.sha256) != (theirs.extractor, theirs.sha256):
        raise EvaluationError(
            f"the images are seen by {mine.extractor} and the reference by {theirs.extractor} "
            f"(sha256 {mine.sha256[:8]} and {theirs.sha256[:8]}): take one extractor for both"
        )
    if mine.size != theirs.size:
        (h, w), (high, wide) = mine.size, theirs.size
        raise EvaluationError(
            f"the images are {w}x{h} and the reference {wide}x{high}: bring them to one size"
        )


@dataclass(frozen=True)
class _Opened:
    """An extractor, ready to run."""

    network: nn.Module
    name: str
    sha256: str
    channels: int | None  # that it takes; None: it is not known, or any
    device: torch.device


def _opened(extractor: Extractor, device: str) -> _Opened:
    target = resolve_device(device)
    if isinstance(extractor, nn.Module):
        return _Opened(extractor, type(extractor).__name__, "", None, target)
    shipped = {name: source for source, name in extractors.NAMES.items()}
    known = [*shipped, inception.NAME]
    path: Path | None = Path(extractor)
    if extractor in shipped:
        path = extractors.shipped_extractor(shipped[str(extractor)], "auto")
    elif extractor == inception.NAME:
        path = environment_runtime().weights_file
    elif path is not None and not path.suffix and not path.exists():
        raise EvaluationError(
            f"there is no extractor {str(extractor)!r}: {did_you_mean(str(extractor), known)} (or "
            "give the path of a file)"
        )
    if path is not None and path.suffix == ".safetensors":
        network, info = load_classifier(path, device=device)
        return _Opened(network, info.name, digest_file(path), network.config.channels, target)
    weights, sha256 = inception.load_inception(path, "")
    published = sha256.startswith(inception.SHA256)
    name = inception.NAME if published else f"{inception.NAME}:{sha256[:8]}"
    return _Opened(weights, name, sha256, None, target)


def _seen(images: Images | ImageFeatures, by: _Opened | None) -> ImageFeatures:
    assert by is not None
    assert not isinstance(images, ImageFeatures)
    pixels = as_uint8(images, by.channels)
    _, channels, height, width = pixels.shape
    if by.channels not in (None, channels):
        raise EvaluationError(
            f"{by.name} takes images with {counted(by.channels or 0, 'channel')}, not {channels}: "
            "convert the images, or give another extractor"
        )
    found = _extracted(pixels, by)
    return ImageFeatures(found.features, found.logits, by.name, by.sha256, (height, width))


def _extracted(pixels: Tensor, by: _Opened) -> Features:
    try:
        return extract_features(by.network, pixels, device=by.device)
    except (TypeError, ValueError, AttributeError) as error:  # of a module that a user wrote
        raise EvaluationError(
            f"{by.name} does not map images to (features, logits) ({error}): let its forward "
            "return these two, (B, D) and (B, K)"
        ) from None
