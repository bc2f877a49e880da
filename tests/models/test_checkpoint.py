"""Model files: the same bits back, the same bytes again, and one sentence for what is no model."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
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
from pdpipe.diffusion import Condition
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
from pdpipe.networks import Classifier, ClassifierConfig, described
from pdpipe.networks.dit import DiT, DiTConfig
from pdpipe.tensor_files import load_tensors, save_tensors

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
    conditions = torch.zeros(1), Condition(torch.tensor([1]), torch.ones(1))
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


def crafted(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The model's file with other metadata, written as pdpipe writes it: its digest is right."""
    tensors, about = load_tensors(path, "pdpipe")
    change(about)
    save_tensors(path, tensors, "pdpipe", about)
    return path


BIG = 10**9
CRAFTED: dict[str, Callable[[dict[str, Any]], object]] = {
    "endless blocks": lambda about: about["network"].update(blocks_per_level=BIG),
    "many blocks": lambda about: about["network"].update(blocks_per_level=64),
    "wide": lambda about: about["network"].update(base_channels=2**16, embedding_channels=2**16),
    "wider": lambda about: about["network"].update(base_channels=BIG),
    "levels": lambda about: about["network"].update(channel_multipliers=[2] * 17),
    "no levels": lambda about: about["network"].update(channel_multipliers=[]),
    "zero": lambda about: about["network"].update(head_channels=0),
    "negative": lambda about: about["network"].update(channels=-1),
    "odd heads": lambda about: about["network"].update(head_channels=7),
    "groups": lambda about: about["network"].update(norm_groups=3),
    "classes": lambda about: about["network"].update(num_classes=BIG),
    "other classes": lambda about: about["network"].update(num_classes=9),
    "names": lambda about: about.update(classes=["a"] * 9),
    "no names": lambda about: about.update(classes=[]),
    "text": lambda about: about["network"].update(channels="1"),
    "list": lambda about: about.update(network=[]),
    "unknown": lambda about: about["network"].update(colour="red"),
    "missing": lambda about: about["network"].pop("channels"),
    "image": lambda about: about["network"].update(image_size=2**16 + 1),
    "frequencies": lambda about: about["network"].update(w_frequencies=BIG),
    "heads": lambda about: about["network"].update(heads=2),
    "kind": lambda about: about.update(kind="gan"),
    "parameterization": lambda about: about.update(parameterization="x_eps"),
    "steps": lambda about: about.update(steps=0),
    "huge steps": lambda about: about.update(steps=10**30),
    "boolean steps": lambda about: about.update(steps=True),
    "w": lambda about: about.update(w_min=-1.0),
    "endless w": lambda about: about.update(w_max=float("inf")),
    "no w": lambda about: about.update(w_min=float("nan")),
    "w ends": lambda about: about.update(w_min=5.0),
    "schedule": lambda about: about.update(schedule={"name": "linear"}),
    "schedule's setting": lambda about: about["schedule"].update(power=2),
    "schedule's ends": lambda about: about["schedule"].update(log_snr_min=1e308, log_snr_max=-5.0),
    "schedule's text": lambda about: about["schedule"].update(log_snr_min="-20"),
    "schedule without a name": lambda about: about["schedule"].pop("name"),
    "schedule's far end": lambda about: about["schedule"].update(log_snr_max=1000.0),
    "another w": lambda about: about.update(w_max=2.0),
    "w without an end": lambda about: about.update(guidance="input", w_max=None),
    "convention": lambda about: about.update(w_convention="w - 1"),
    "no steps": lambda about: about.update(kind="student", steps=None),
    "unhalved": lambda about: about["network"].update(image_size=7),
    "network": lambda about: about["network"].update(name="transformer"),
    "network's name": lambda about: about["network"].update(name=["dit"]),
    "sizes of another": lambda about: about["network"].update(name="dit"),
    "format": lambda about: about.update(format=2),
    "deep": lambda about: about.update(name=[[[["x"]]]]),
    "no metadata": lambda about: about.clear(),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_metadata_from_a_stranger_is_a_sentence(what: str, path: Path) -> None:
    """At once and in little memory: nothing is built that the file's own tensors do not fill."""
    tracemalloc.start()
    with pytest.raises(ModelError) as error:
        load_model(crafted(path, CRAFTED[what]), device="cpu")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    said = str(error.value)
    assert str(path) in said
    assert "\n" not in said
    assert len(said) < len(str(path)) + 400


TINY_DIT: dict[str, Any] = {
    "image_size": 8,
    "channels": 1,
    "num_classes": 10,
    "patch_size": 2,
    "width": 8,
    "depth": 1,
    "head_channels": 4,
    "w_frequencies": 4,
    "w_max": 4.0,
}
CRAFTED_DIT: dict[str, dict[str, Any]] = {
    "image": {"image_size": 2**13},
    "patches that do not fill it": {"image_size": 7},
    "patch": {"patch_size": 3},
    "heads": {"head_channels": 3},
    "no blocks": {"depth": 0},
    "blocks": {"depth": BIG},
    "width": {"width": 2**14},
    "odd width": {"width": 6},
    "hidden": {"mlp_ratio": 16},
}


@pytest.fixture
def dit_path(model: DiffusionModel, tmp_path: Path) -> Path:
    """A transformer's file."""
    network = DiT(DiTConfig(**TINY_DIT))
    info = model.info.model_copy(update={"network": described(network)})
    save_model(tmp_path / "dit.safetensors", network, info)
    return tmp_path / "dit.safetensors"


def test_another_network_comes_back_by_its_name(dit_path: Path) -> None:
    found = load_model(dit_path, device="cpu")
    assert isinstance(found.network, DiT)
    assert found.info.network["name"] == "dit"
    assert vars(found.network.config) == vars(DiTConfig(**TINY_DIT))


@pytest.mark.parametrize("what", CRAFTED_DIT)
def test_another_networks_sizes_from_a_stranger_are_a_sentence(what: str, dit_path: Path) -> None:
    tracemalloc.start()
    with pytest.raises(ModelError) as error:
        load_model(crafted(dit_path, lambda a: a["network"].update(CRAFTED_DIT[what])), "cpu")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert str(dit_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_side_of_the_images_takes_no_memory_before_there_are_any(dit_path: Path) -> None:
    """It is the one size of a transformer that no tensor of its file bounds."""
    change = {"image_size": 2**12}
    network = load_model(crafted(dit_path, lambda a: a["network"].update(change)), "cpu").network
    assert sum(tensor.numel() for tensor in network.buffers()) < 1e5


def test_weights_that_are_not_finite_are_no_model(path: Path) -> None:
    tensors, about = load_tensors(path, "pdpipe")
    tensors["conv_in.bias"][0] = float("nan")
    save_tensors(path, tensors, "pdpipe", about)
    with pytest.raises(ModelError, match=r"conv_in\.bias has values that are not finite"):
        load_model(path)


def test_names_are_cleaned_of_what_a_terminal_would_obey(path: Path) -> None:
    def change(about: dict[str, Any]) -> None:
        about["name"] = "a\x1b[2J\rb" + "c" * 500
        about["classes"][0] = "\x07one\n"

    model = load_model(crafted(path, change), device="cpu")
    assert model.info.name.startswith("a�[2J�bccc")
    assert len(model.info.name) == 200
    assert model.info.classes[0] == "�one�"
    assert repr(model).isprintable()
