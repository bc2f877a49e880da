"""`pdpipe.metrics`: the pipeline's own numbers, checked by others, for images of any kind."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy import stats
from torch import Tensor, nn

import pdpipe
from pdpipe.data import ImageSet, to_unit
from pdpipe.errors import DataError, EvaluationError, PdpipeError
from pdpipe.evaluation.measure import measure as pipeline_measure
from pdpipe.evaluation.metrics import METRICS
from pdpipe.evaluation.observe import Instruments, observe
from pdpipe.evaluation.reference import build_reference
from pdpipe.extractors import shipped_extractor
from pdpipe.files import digest_file
from pdpipe.metrics import Measurement
from pdpipe.models import load_classifier

CNN = shipped_extractor("digits", "auto")
assert CNN is not None
PUBLIC = [key for key, metric in METRICS.items() if not metric.of_heldout]


@pytest.fixture(scope="module")
def noisy(train: ImageSet) -> Tensor:
    """400 training digits with noise, classes in turn: images to be measured, uint8."""
    rows = torch.cat([(train.labels == k).nonzero()[:40] for k in range(10)], dim=1).flatten()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-60, 60, (400, 1, 8, 8), generator=generator)
    return (train.images[rows].int() + noise).clamp(0, 255).to(torch.uint8)


def test_every_metric_is_the_pipelines_to_the_last_bit(
    train: ImageSet, heldout: ImageSet, noisy: Tensor
) -> None:
    """By the code of stages `reference` and `evaluate`."""
    labels = torch.arange(400) % 10
    network, info = load_classifier(CNN, device="cpu")
    reference = build_reference(
        train,
        heldout,
        network,
        network,
        extractor_name=info.name,
        extractor_sha256=digest_file(CNN),
    )
    seen = observe(noisy, labels, Instruments(network, network, reference))
    expected = pipeline_measure(seen, reference)
    found = pdpipe.metrics.measure(noisy, train.images, extractor=CNN, labels=labels)
    assert list(found) == PUBLIC
    for key, figure in found.items():
        assert (figure.value, figure.se) == (expected[key], expected[f"{key}_se"])
        assert (figure.count, figure.extractor) == (400, "digits-cnn")
        half = stats.t.ppf(0.975, df=9) * figure.se
        metric = METRICS[key]
        low = max(figure.value - half, -np.inf if metric.least is None else metric.least)
        high = min(figure.value + half, np.inf if metric.most is None else metric.most)
        assert figure.interval == pytest.approx((low, high))


def test_each_function_is_its_metric(train: ImageSet, noisy: Tensor) -> None:
    found = pdpipe.metrics.measure(noisy, train.images, extractor="digits-cnn")
    reference = pdpipe.metrics.features(train.images, extractor=str(CNN))
    for key in PUBLIC:
        if key == "is":
            alone = pdpipe.metrics.inception_score(noisy, extractor="digits-cnn")
        else:
            function = getattr(pdpipe.metrics, key)
            alone = function(noisy, reference, extractor="digits-cnn")
        assert alone == found[key]


def test_fid_by_scipy_in_float64(train: ImageSet, noisy: Tensor) -> None:
    network, _ = load_classifier(CNN, device="cpu")
    sides = []
    with torch.inference_mode():
        for images in (noisy, train.images):
            sides.append(network(images.float() / 127.5 - 1)[0].double().numpy())
    (a, b), (s, t) = sides, [np.cov(side, rowvar=False) for side in sides]
    shift = a.mean(axis=0) - b.mean(axis=0)
    of_root = np.sqrt(scipy.linalg.eigvals(s @ t).real.clip(min=0)).sum()
    expected = shift @ shift + np.trace(s + t) - 2 * of_root
    found = pdpipe.metrics.fid(noisy, train.images, extractor=CNN)
    assert found.value == pytest.approx(float(expected), rel=1e-4)
    assert found.value > 0.5


def test_images_of_any_kind_are_the_same(train: ImageSet, noisy: Tensor, tmp_path: Path) -> None:
    reference = pdpipe.metrics.features(train.images, extractor=CNN)
    expected = pdpipe.metrics.fid(noisy, reference, extractor=CNN)
    pictures = pdpipe.to_pil(noisy)
    for k, picture in enumerate(pictures):
        picture.save(tmp_path / f"{k:03}.png")
    for given in (noisy.numpy(), to_unit(noisy), to_unit(noisy).numpy(), pictures, tmp_path):
        found = pdpipe.metrics.fid(given, reference, extractor=CNN)
        assert (found.value, found.se) == pytest.approx((expected.value, expected.se), rel=1e-6)
    seen = pdpipe.metrics.features(noisy, extractor=CNN)
    assert pdpipe.metrics.fid(seen, reference) == expected


class Pooled(nn.Module):
    """Somebody's own features: means of quarters."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)
        return features, features


def test_an_extractor_of_ones_own(train: ImageSet, noisy: Tensor) -> None:
    found = pdpipe.metrics.fid(noisy, train.images, extractor=Pooled())
    assert found.name == "FID-400[Pooled]"
    with pytest.raises(EvaluationError, match=r"^Identity does not map images to \(features, log"):
        pdpipe.metrics.fid(noisy, train.images, extractor=nn.Identity())


def test_a_measurement_is_never_read_bare() -> None:
    def text(value: float, interval: tuple[float, float] | None) -> str:
        return str(Measurement("FID", value, None, interval, 1500, 1581, "digits-cnn"))

    assert text(0.45, (0.41, 0.49)) == "FID-1500[digits-cnn] 0.45 (0.41 to 0.49)"
    assert text(0.45, None) == "FID-1500[digits-cnn] 0.45 (no interval)"
    assert text(0.45, (0.4496, 0.4504)) == "FID-1500[digits-cnn] 0.4500 (0.4496 to 0.4504)"


def test_few_images_have_a_figure_without_an_interval(train: ImageSet) -> None:
    found = pdpipe.metrics.measure(train.images[:9], train.images, extractor=CNN)
    assert all(figure.interval is None and figure.se is None for figure in found.values())
    labels = [0] * 15 + [1] * 5  # a class of fewer than 10
    found = pdpipe.metrics.measure(train.images[:20], train.images, extractor=CNN, labels=labels)
    assert all(figure.interval is None for figure in found.values())


@pytest.mark.slow
def test_the_interval_covers_the_mean_of_other_sets(train: ImageSet) -> None:
    """Of 60 sets of real images without order, with and without labels: 95 % as a rule."""
    seen = pdpipe.metrics.features(train.images, extractor=CNN)
    generator = torch.Generator().manual_seed(1)
    figures = []
    for _ in range(60):
        rows = torch.randint(len(seen), (300,), generator=generator)
        part = pdpipe.metrics.ImageFeatures(
            seen.features[rows], seen.logits[rows], seen.extractor, seen.sha256, seen.size
        )
        figures.append(pdpipe.metrics.inception_score(part))
    mean = np.mean([figure.value for figure in figures])
    covered = sum(f.interval[0] <= mean <= f.interval[1] for f in figures if f.interval)
    assert 50 <= covered <= 60


@pytest.fixture
def digits_seen(train: ImageSet) -> pdpipe.metrics.ImageFeatures:
    return pdpipe.metrics.features(train.images[:50], extractor=CNN)


def test_what_cannot_be_measured(
    digits_seen: pdpipe.metrics.ImageFeatures, train: ImageSet, tmp_path: Path
) -> None:
    x, colour = train.images[:20], train.images[:20].expand(-1, 3, -1, -1)
    small = pdpipe.metrics.features(x[..., :6, :6], extractor=CNN)
    own = pdpipe.metrics.features(x, extractor=Pooled())
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    refused = [
        (lambda: pdpipe.metrics.fid(x, x), "an extractor is missing: give extractor='digits-cnn'"),
        (lambda: pdpipe.metrics.fid(x, x, extractor="digits_cnn"), "did you mean 'digits-cnn'?"),
        (lambda: pdpipe.metrics.fid(x, x, extractor="no.safetensors"), "there is no model at no.s"),
        (lambda: pdpipe.metrics.fid(x, x, extractor="no.pth"), "weights file no.pth does not ex"),
        (
            lambda: pdpipe.metrics.fid(x, x, extractor=tmp_path / "weights.pth"),
            "does not hold the Inception weights",
        ),
        (
            lambda: pdpipe.metrics.fid(x, x, extractor="inception-v3-compat"),
            "needs a weights file: download https://github.com",
        ),
        (
            lambda: pdpipe.metrics.fid(colour, x, extractor=CNN),
            "digits-cnn takes images with 1 channel, not 3: convert the images",
        ),
        (lambda: pdpipe.metrics.fid(small, digits_seen), "images are 6x6 and the reference 8x8"),
        (lambda: pdpipe.metrics.fid(own, digits_seen), "seen by Pooled and the reference by dig"),
        (
            lambda: pdpipe.metrics.measure(digits_seen, digits_seen, metrics=["fids"]),
            "there is no metric 'fids': did you mean 'fid'?",
        ),
        (
            lambda: pdpipe.metrics.measure(digits_seen, metrics=["fid"]),
            "only `is` needs no reference",
        ),
        (
            lambda: pdpipe.metrics.fid(digits_seen, digits_seen, labels=[1, 2]),
            "labels are one class index, 0 or more, for each of 50 images",
        ),
        (lambda: pdpipe.metrics.recall(x[:3], digits_seen, extractor=CNN), "more than 3 images"),
        (lambda: pdpipe.metrics.fid(x[:1], digits_seen, extractor=CNN), "at least 2 samples"),
    ]
    for call, sentence in refused:
        with pytest.raises(PdpipeError, match=re.escape(sentence)) as raised:
            call()
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match="none of these has a value below 0"):
        pdpipe.metrics.fid(x / 255, digits_seen, extractor=CNN)
