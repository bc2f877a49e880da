from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from pdpipe.data import load_split, read_manifest
from pdpipe.sources import open_source, write_shards
from pdpipe.sources.shards import split_indices


def joined(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_split_is_what_its_shards_hold_in_order(digits_dir, split):
    expected, labels = [], []
    for path in sorted(digits_dir.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                data = tar.extractfile(member).read()
                if member.name.endswith(".png"):
                    expected.append(np.asarray(Image.open(io.BytesIO(data)))[None])
                else:
                    labels.append(int(data))
    found = load_split(digits_dir, split)
    assert len(found) == len(labels) == read_manifest(digits_dir).split(split).count
    assert found.images.dtype == torch.uint8
    assert torch.equal(found.images, torch.from_numpy(np.stack(expected)))
    assert torch.equal(found.labels, torch.tensor(labels))
    assert found.classes == tuple("0123456789")
    assert found.digest == read_manifest(digits_dir).digest


def test_colour_images_come_back_channels_first(tmp_path, noise_source, data_params):
    source = noise_source([7, 9], (6, 6, 3))
    params = data_params(image_size=6, channels=3, images_per_shard=5)
    write_shards(source, params, 0, tmp_path)
    order = split_indices(source, params.heldout_fraction, 0)
    for split, indices in order.items():
        found = load_split(tmp_path, split)
        expected = np.stack([source[int(index)].transpose(2, 0, 1) for index in indices])
        assert torch.equal(found.images, torch.from_numpy(expected))
        assert torch.equal(found.labels, torch.from_numpy(source.labels[indices]))


def test_a_folder_of_images_through_shards_and_back(tmp_path, data_params):
    """Three flat classes of known colours, through a folder of images and back."""
    colours = {"amber": (255, 190, 0), "blue": (0, 40, 255), "coral": (255, 127, 80)}
    for name, colour in colours.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (12, 12), colour)
            image.save(tmp_path / "images" / name / f"{number}.png")
    path = str(tmp_path / "images")
    params = data_params(source="folder", path=path, channels=3, images_per_shard=5)
    write_shards(open_source(params), params, 0, tmp_path / "shards")
    found = load_split(tmp_path / "shards", "train")
    assert found.images.shape == (9, 3, 8, 8)
    assert found.classes == ("amber", "blue", "coral")
    for image, label in zip(found.images, found.labels, strict=True):
        colour = torch.tensor(colours[found.classes[label]], dtype=torch.uint8)
        assert torch.equal(image, colour.view(3, 1, 1).expand(3, 8, 8))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
def test_workers_change_nothing(digits_dir):
    one, several = load_split(digits_dir, "train"), load_split(digits_dir, "train", workers=2)
    assert torch.equal(one.images, several.images)
    assert torch.equal(one.labels, several.labels)


def test_loading_leaves_the_random_state_alone(noise_dir):
    before = torch.get_rng_state()
    load_split(noise_dir, "train")
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_ignores_webdatasets_environment(noise_dir, monkeypatch, tmp_path):
    """A launcher's variables would make webdataset skip shards, or copy them to a cache."""
    expected = load_split(noise_dir, "train")
    for name, value in {"WORLD_SIZE": "4", "RANK": "1", "WORKER": "1", "NUM_WORKERS": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WDS_CACHE", str(tmp_path / "cache"))
    found = load_split(noise_dir, "train")
    assert torch.equal(found.images, expected.images)
    assert not (tmp_path / "cache").exists()
