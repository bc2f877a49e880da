"""Real digits in two stratified splits, and a small classifier trained on them for seconds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pdpipe.data import ImageSet
from pdpipe.evaluation.observe import Instruments
from pdpipe.evaluation.reference import Reference, build_reference
from pdpipe.networks import Classifier, ClassifierConfig

SHA = "0123456789abcdef" * 4


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def splits() -> tuple[ImageSet, ImageSet]:
    """(train, heldout): every seventh image of each class is held out."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)[:, None]
    heldout = np.zeros(len(images), dtype=bool)
    for label in range(10):
        heldout[np.flatnonzero(digits.target == label)[::7]] = True
    return tuple(
        ImageSet(
            images=torch.from_numpy(images[mask]),
            labels=torch.from_numpy(digits.target[mask]).long(),
            classes=tuple("0123456789"),
            digest="digits",
        )
        for mask in (~heldout, heldout)
    )


@pytest.fixture(scope="session")
def train(splits: tuple[ImageSet, ImageSet]) -> ImageSet:
    return splits[0]


@pytest.fixture(scope="session")
def heldout(splits: tuple[ImageSet, ImageSet]) -> ImageSet:
    return splits[1]


@pytest.fixture(scope="session")
def classifier(train: ImageSet) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(ClassifierConfig(channels=1, num_classes=10, features=32, dropout=0.2))
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
        for _ in range(240):
            chosen = torch.randint(len(train), (64,))
            logits = model(train.images[chosen].float() / 127.5 - 1)[1]
            loss = torch.nn.functional.cross_entropy(logits, train.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="session")
def reference(train: ImageSet, heldout: ImageSet, classifier: Classifier) -> Reference:
    return build_reference(
        train, heldout, classifier, classifier, extractor_name="digits-cnn", extractor_sha256=SHA
    )


@pytest.fixture(scope="session")
def instruments(classifier: Classifier, reference: Reference) -> Instruments:
    return Instruments(classifier, classifier, reference)
