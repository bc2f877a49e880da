"""The real side: what it holds, its file, and the floor, against independent computations."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from safetensors.torch import save_file

from pdpipe.data import ImageSet
from pdpipe.errors import EvaluationError
from pdpipe.evaluation.measure import floor_record
from pdpipe.evaluation.records import JACKKNIFE
from pdpipe.evaluation.reference import (
    Reference,
    build_reference,
    load_reference,
    save_reference,
)
from pdpipe.networks import Classifier

SHA = "0123456789abcdef" * 4


def tensors(reference: Reference) -> dict[str, torch.Tensor]:
    fields = {f.name: getattr(reference, f.name) for f in dataclasses.fields(reference)}
    found = {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}
    found |= reference.heldout.tensors()
    for key, state in reference.state.items():
        found |= {f"{key}.{name}": tensor for name, tensor in state.items()}
    return found


def build(train: ImageSet, heldout: ImageSet, classifier: Classifier) -> Reference:
    return build_reference(
        train, heldout, classifier, classifier, extractor_name="x", extractor_sha256=SHA
    )


def test_the_file_gives_back_every_bit(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "results" / "reference.safetensors"
    save_reference(path, reference)
    found = load_reference(path, extractor_sha256=SHA)
    assert tensors(found).keys() == tensors(reference).keys()
    for name, tensor in tensors(reference).items():
        assert tensor.dtype == tensors(found)[name].dtype
        assert torch.equal(tensor, tensors(found)[name]), name
    assert found.extractor == reference.extractor
    assert found.state.keys() == reference.state.keys() == {"fid", "is", "kid", "mmd", "precision"}
    assert found.nearest_threshold == reference.nearest_threshold


def test_the_file_is_the_same_bytes_each_time(
    train: ImageSet, heldout: ImageSet, classifier: Classifier, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        save_reference(tmp_path / name, build(train, heldout, classifier))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_the_floor_is_the_held_out_split_measured_against_the_training_split(
    reference: Reference, train: ImageSet, heldout: ImageSet, classifier: Classifier
) -> None:
    with torch.no_grad():
        sides = [classifier(s.images.float() / 127.5 - 1) for s in (train, heldout)]
    (f, k), (g, m) = ([t.double().numpy() for t in side] for side in sides)
    s, t = np.cov(f, rowvar=False), np.cov(g, rowvar=False)
    shift = f.mean(axis=0) - g.mean(axis=0)
    offset = 1e-10 * np.eye(len(s))  # sqrtm of a singular product is not exact
    root = np.trace(scipy.linalg.sqrtm((s + offset) @ (t + offset)).real)
    expected = shift @ shift + np.trace(s) + np.trace(t) - 2 * root
    floor = floor_record(reference).floor
    assert floor.fid == pytest.approx(expected, rel=1e-4)
    assert floor.accuracy_heldout == (m.argmax(axis=1) == heldout.labels.numpy()).mean()

    for logits, value in ((k, floor.is_train), (m, floor.is_)):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        kl = (p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()
        assert value == pytest.approx(np.exp(kl), rel=1e-6)

    a, b = (s.images.flatten(1).double().numpy() / 127.5 for s in (heldout, train))
    nearest = np.array([np.sqrt(((b - row) ** 2).sum(axis=1)).min() for row in a])
    threshold = np.percentile(nearest, 1)
    assert floor.nearest_median == pytest.approx(np.median(nearest), rel=1e-12)
    assert floor.nearest_threshold == pytest.approx(threshold, rel=1e-12)
    assert floor.nearest_close == pytest.approx((nearest < threshold).mean(), rel=1e-12)
    assert 0.0 < floor.nearest_close <= 0.02


def test_the_floor_file_is_the_agreed_one(reference: Reference, train: ImageSet) -> None:
    plain = floor_record(reference).plain()
    assert list(plain) == ["protocol", "floor"]
    assert plain["protocol"] == {
        "extractor": {
            "name": "digits-cnn",
            "sha256": SHA,
            "features": 32,
            "heldout_accuracy": pytest.approx(reference.extractor.heldout_accuracy, rel=1e-5),
        },
        "num_heldout": 1797 - len(train),
        "num_train": len(train),
        "balance": "stratified split",
        "standard_errors": JACKKNIFE,
        "libraries": {name: version(name) for name in ("numpy", "scipy", "torch-fidelity")}
        | {"torch": version("torch").partition("+")[0]},
    }
    assert list(plain["floor"]) == [
        "fid", "fid_se", "fid_heldout", "fid_heldout_se", "is", "is_se", "kid", "kid_se",
        "mmd", "mmd_se",
        "precision", "precision_se", "recall", "recall_se", "is_train", "accuracy_heldout",
        "nearest_median", "nearest_close", "nearest_threshold",
    ]  # fmt: skip


def test_an_unbalanced_held_out_split_raises_the_floor(
    reference: Reference, train: ImageSet, heldout: ImageSet, classifier: Classifier
) -> None:
    keep = heldout.labels != 3
    part = dataclasses.replace(heldout, images=heldout.images[keep], labels=heldout.labels[keep])
    unbalanced = floor_record(build(train, part, classifier)).floor.fid
    assert unbalanced > 2 * floor_record(reference).floor.fid


@pytest.fixture
def saved(reference: Reference, tmp_path: Path) -> Path:
    path = tmp_path / "reference.safetensors"
    save_reference(path, reference)
    return path


def test_a_missing_reference_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"r.safetensors does not exist: run `dvc repro ref"):
        load_reference(tmp_path / "r.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_cut_reference_is_damaged(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(EvaluationError, match=r"is damaged .*: delete it and run `dvc repro ref"):
        load_reference(saved)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.999])
def test_one_flipped_bit_in_the_tensors_is_damage(saved: Path, share: float) -> None:
    data = bytearray(saved.read_bytes())
    header = int.from_bytes(data[:8], "little") + 8
    data[header + int(share * (len(data) - header))] ^= 1
    saved.write_bytes(data)
    with pytest.raises(EvaluationError, match="its checksum does not match"):
        load_reference(saved)


@pytest.mark.parametrize(
    "metadata", [None, {"sheet": "{}"}, {"reference": "{}"}, {"reference": "not JSON"}]
)
def test_another_safetensors_file_is_no_reference(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, path, metadata)
    with pytest.raises(
        EvaluationError, match=r"is not a reference or is damaged .*: delete it and"
    ):
        load_reference(path)


def test_a_folder_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="is not a reference or is damaged"):
        load_reference(tmp_path)


def test_a_reference_of_another_extractor_is_refused(saved: Path) -> None:
    with pytest.raises(EvaluationError, match=r"another extractor .*0123456789ab…, not ffffffff"):
        load_reference(saved, extractor_sha256="f" * 64)


def test_splits_that_do_not_fit_say_why(
    train: ImageSet, heldout: ImageSet, classifier: Classifier
) -> None:
    few = dataclasses.replace(heldout, images=heldout.images[:2], labels=heldout.labels[:2])
    with pytest.raises(EvaluationError, match=r"held-out split has 2 .* or raise data.heldout_fr"):
        build(train, few, classifier)
    with pytest.raises(EvaluationError, match=r"training split has 2 .* or lower data.heldout_fr"):
        build(few, heldout, classifier)
    fewer = dataclasses.replace(train, classes=train.classes[:9])
    with pytest.raises(EvaluationError, match="has 9 classes, the held-out split 10 and"):
        build(fewer, heldout, classifier)
    with pytest.raises(EvaluationError, match="one integer label for each of"):
        build(train, dataclasses.replace(heldout, labels=heldout.labels[1:]), classifier)
