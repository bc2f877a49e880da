"""Model files: the same bits back, the same bytes again, and one sentence for what is no model."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

import pdpipe
from pdpipe.errors import ModelError, ParamsError
from pdpipe.files import digest_file
from pdpipe.models import (
    ClassifierInfo,
    DiffusionModel,
    load_classifier,
    load_model,
    save_classifier,
    save_model,
)
from pdpipe.networks import Classifier, ClassifierConfig

MakeModel = Callable[..., DiffusionModel]


@pytest.fixture
def model(make_model: MakeModel) -> DiffusionModel:
    return make_model({"w_frequencies": 4, "w_max": 4.0})


@pytest.fixture
def path(tmp_path: Path, model: DiffusionModel) -> Path:
    """A student's file."""
    path = tmp_path / "models" / "student-4.safetensors"
    save_model(path, model.network, model.info)
    return path


@pytest.fixture
def extractor_path(tmp_path: Path) -> Path:
    """An extractor's file."""
    torch.manual_seed(0)
    config = ClassifierConfig(channels=1, num_classes=10, features=32, dropout=0.2)
    info = ClassifierInfo(
        name="digits-cnn",
        network=vars(config).copy(),
        classes=[str(k) for k in range(10)],
        heldout_accuracy=0.99,
        provenance={},
    )
    save_classifier(tmp_path / "extractor.safetensors", Classifier(config), info)
    return tmp_path / "extractor.safetensors"


def test_round_trip_keeps_every_bit(path: Path, model: DiffusionModel) -> None:
    loaded = load_model(path, device="cpu")
    assert loaded.info == model.info
    assert loaded.network.config == model.network.config
    assert loaded.sha256 == digest_file(path)
    expected = model.network.state_dict()
    assert loaded.network.state_dict().keys() == expected.keys()
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    labels = [3, 1, 4]
    assert torch.equal(loaded.sample(labels, w=0.7), model.sample(labels, w=0.7))


def test_loaded_models_are_ready_for_use_not_for_training(path: Path, extractor_path: Path) -> None:
    network: torch.nn.Module
    for network in (load_model(path).network, load_classifier(extractor_path)[0]):
        assert not any(module.training for module in network.modules())
        assert not any(p.requires_grad for p in network.parameters())


def test_dropout_is_off_in_a_loaded_model(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model({"dropout": 0.5})
    model.network.train()
    save_model(tmp_path / "teacher.safetensors", model.network, model.info)
    loaded = pdpipe.load(tmp_path / "teacher.safetensors", device="cpu")
    first, second = (loaded.sample([1, 2], steps=2, seed=5) for _ in range(2))
    assert torch.equal(first, second)


def test_equal_models_have_equal_bytes(path: Path, model: DiffusionModel, tmp_path: Path) -> None:
    again, copied = tmp_path / "again.safetensors", tmp_path / "copied.safetensors"
    save_model(again, model.network, model.info)
    loaded = load_model(path)
    save_model(copied, loaded.network, loaded.info)
    assert path.read_bytes() == again.read_bytes() == copied.read_bytes()


def test_classifier_round_trip(extractor_path: Path, tmp_path: Path) -> None:
    network, info = load_classifier(extractor_path, device="cpu")
    assert (info.name, info.kind, info.heldout_accuracy) == ("digits-cnn", "extractor", 0.99)
    save_classifier(tmp_path / "again.safetensors", network, info)
    assert (tmp_path / "again.safetensors").read_bytes() == extractor_path.read_bytes()


def test_a_file_needs_no_other_file_to_be_understood(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        stored = json.loads(file.metadata()["pdpipe"])
    assert stored["network"]["base_channels"] == 8
    assert stored["schedule"] == {"name": "cosine", "log_snr_min": -20.0, "log_snr_max": 20.0}
    assert (stored["steps"], stored["w_min"], stored["w_max"]) == (4, 0.0, 4.0)
    assert stored["w_convention"].startswith("x_hat_w = (1 + w)")
    assert stored["provenance"] == {"seed": 0}


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelError, match=r"there is no model at .*: run `dvc repro`"):
            load_model(path)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_truncated_file(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"is damaged and cannot be used .*run `dvc repro`"):
        load_model(path)


def test_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(5000))
    with pytest.raises(ModelError, match="is damaged and cannot be used"):
        load_model(path)


def test_foreign_file(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.ones(3)}, tmp_path / "other.safetensors", metadata)
        with pytest.raises(ModelError, match="was not written by pdpipe"):
            load_model(tmp_path / "other.safetensors")


def test_wrong_kind(path: Path, extractor_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not what is needed here .*give a teacher or student"):
        load_model(extractor_path)
    with pytest.raises(ModelError, match=r"is not what is needed here .*give an extractor"):
        load_classifier(path)


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The file with its metadata changed, and without a digest, as once they all were."""
    with safe_open(path, framework="pt") as file:
        stored = json.loads(file.metadata()["pdpipe"])
        del stored["sha256"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(stored)
    save_file(tensors, path, {"pdpipe": json.dumps(stored)})


def test_a_file_without_a_digest_loads(path: Path, model: DiffusionModel) -> None:
    rewritten(path, lambda stored: None)
    assert load_model(path).info == model.info


def test_a_flipped_bit_anywhere_is_a_sentence(path: Path, extractor_path: Path) -> None:
    """Or changes nothing, where the header has room that it does not use."""
    for file, load in ((path, load_model), (extractor_path, load_classifier)):
        whole = file.read_bytes()
        header = int.from_bytes(whole[:8], "little") + 8
        middle, end = (header + len(whole)) // 2, len(whole) - 1
        for place in (0, 5, 8, header // 3, header // 2, header - 100, header, middle, end):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << place % 7
            file.write_bytes(flipped)
            with pytest.raises(ModelError) as raised:
                load(file)
            assert str(file) in str(raised.value)


def test_another_versions_file(path: Path) -> None:
    rewritten(path, lambda stored: stored.update(format=2))
    with pytest.raises(ModelError, match=r"format: .*made by this version"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored["network"].update(novelty=1),
        lambda stored: stored["network"].pop("head_channels"),
    ],
)
def test_network_of_another_version(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewritten(path, change)
    with pytest.raises(ModelError, match=r"a network that this version .* cannot build"):
        load_model(path)


def test_weights_of_another_network(path: Path) -> None:
    rewritten(path, lambda stored: stored["network"].update(base_channels=16))
    with pytest.raises(ModelError, match=r"do not fit the network that the file describes"):
        load_model(path)


def test_a_file_from_before_there_were_norm_groups(tmp_path: Path) -> None:
    """Written by an earlier version, whose groups varied by layer; the output is that version's."""
    old = load_model(Path(__file__).with_name("without-norm-groups.safetensors"), device="cpu")
    z_t = torch.linspace(-2, 2, 64).view(1, 1, 8, 8)
    conditions = torch.zeros(1), torch.tensor([1]), torch.ones(1)
    found = old.network(z_t, *conditions)
    expected = torch.tensor([-1.05711913, 0.02837511, 0.57239723, -0.08397555])
    assert_close(found.flatten()[::21], expected, rtol=0, atol=1e-5)
    norms = [m for m in old.network.modules() if isinstance(m, nn.GroupNorm)]
    assert {(norm.num_channels, norm.num_groups) for norm in norms} == {
        (4, 1), (8, 2), (12, 3), (16, 4),
    }  # fmt: skip
    save_model(tmp_path / "again.safetensors", old.network, old.info)
    again = load_model(tmp_path / "again.safetensors", device="cpu")
    assert torch.equal(again.network(z_t, *conditions), found)


class _Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


def test_loading_runs_no_code(tmp_path: Path) -> None:
    bomb = _Bomb(tmp_path / "exploded")
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(bomb))
    torch.save({"weights": bomb}, tmp_path / "torch.safetensors")
    for name in ("pickle", "torch"):
        with pytest.raises(ModelError, match="is damaged and cannot be used"):
            load_model(tmp_path / f"{name}.safetensors")
    assert not (tmp_path / "exploded").exists()
    pickle.loads((tmp_path / "pickle.safetensors").read_bytes())
    assert (tmp_path / "exploded").exists(), "the bomb is no bomb"


def test_unknown_device(path: Path) -> None:
    with pytest.raises(ParamsError, match=r"device .* is 'gpu', which cannot be used here"):
        load_model(path, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ParamsError, match=r"is 'cuda', which cannot be used here"):
            pdpipe.load(path, device="cuda")
