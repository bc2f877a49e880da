from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pdpipe.data import iterate_split, load_split, open_source, read_manifest, write_shards
from pdpipe.data.shards import split_indices
from pdpipe.errors import DataError
from pdpipe.files import digest_file

MEND = r"restore it with `dvc checkout -f`, or make it again with `dvc repro -f prepare`$"


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def good_members(count: int = 6) -> dict[str, bytes]:
    """Members of a shard as the noise folder's held-out one should be: 4x4 colour, 3 classes."""
    members: dict[str, bytes] = {}
    for key in range(count):
        members[f"{key}.cls"] = str(key % 3).encode()
        members[f"{key}.png"] = png(np.full((4, 4, 3), key, dtype=np.uint8))
    return members


def replace_heldout(directory: Path, members: dict[str, bytes]) -> None:
    """Put another held-out shard in place, with a manifest that vouches for its bytes."""
    path = directory / "heldout-000000.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    manifest = json.loads((directory / "manifest.json").read_text())
    shard = manifest["splits"]["heldout"]["shards"][0]
    shard.update(sha256=digest_file(path), bytes=path.stat().st_size)
    (directory / "manifest.json").write_text(json.dumps(manifest))


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


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_an_error_in_a_worker_is_still_one_sentence(noise_dir):
    replace_heldout(noise_dir, good_members() | {"3.cls": b"cat"})
    with pytest.raises(DataError, match=rf"the cls of sample 3 cannot .*: {MEND}") as error:
        load_split(noise_dir, "heldout", workers=1)
    assert "\n" not in str(error.value)


def test_loading_leaves_the_random_state_alone(noise_dir):
    before = torch.get_rng_state()
    load_split(noise_dir, "train")
    list(iterate_split(noise_dir, "train", 4))
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


@pytest.mark.parametrize("batch_size", [1, 7, 512, 5000])
def test_batches_are_the_split_in_order(digits_dir, batch_size):
    split = load_split(digits_dir, "train")
    batches = list(iterate_split(digits_dir, "train", batch_size))
    images, labels = joined(batches)
    assert torch.equal(images, split.images)
    assert torch.equal(labels, split.labels)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert all(len(batch[1]) == batch_size for batch in batches[:-1])


def test_batches_need_constant_memory(tmp_path, noise_source, data_params):
    """19 MB of images in two shards pass through; what is held at once is a fraction of it."""
    params = data_params(image_size=256, channels=3, images_per_shard=50)
    write_shards(noise_source([50, 50], (256, 256, 3)), params, 0, tmp_path)
    tracemalloc.start()
    try:
        count = sum(len(labels) for _, labels in iterate_split(tmp_path, "train", 2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 84
    assert peak < 4e6


def both(directory: Path, split: str) -> list[Exception]:
    """What `load_split` and `iterate_split` raise."""
    raised = []
    for read in (load_split, lambda d, s: list(iterate_split(d, s, 4))):
        with pytest.raises(DataError) as error:
            read(directory, split)
        raised.append(error.value)
    return raised


def assert_both_say(directory: Path, split: str, message: str) -> None:
    for error in both(directory, split):
        assert "\n" not in str(error)
        with pytest.raises(DataError, match=message):
            raise error


def test_a_missing_shard(noise_dir):
    (noise_dir / "train-000001.tar").unlink()
    assert_both_say(noise_dir, "train", rf"the shard .*train-000001\.tar is missing: {MEND}")
    assert len(load_split(noise_dir, "heldout")) == 6


def test_a_truncated_shard(noise_dir):
    path = noise_dir / "train-000002.tar"
    os.truncate(path, 1000)
    message = rf"train-000002\.tar is truncated \(1000 bytes instead of \d+\): {MEND}"
    assert_both_say(noise_dir, "train", message)


def test_a_longer_shard(noise_dir):
    with (noise_dir / "train-000000.tar").open("ab") as stream:
        stream.write(b"more")
    assert_both_say(noise_dir, "train", rf"train-000000\.tar is altered \(\d+ bytes .*: {MEND}")


def test_one_flipped_bit(noise_dir):
    path = noise_dir / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # in the padding, where reading would never notice
    path.write_bytes(data)
    message = rf"train-000001\.tar is altered \(its sha256 differs\): {MEND}"
    assert_both_say(noise_dir, "train", message)
    assert len(load_split(noise_dir, "train", verify=False)) == 24


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_missing_and_truncated_shards_are_found_before_the_first_batch(noise_dir, split):
    (noise_dir / f"{split}-000000.tar").write_bytes(b"")
    with pytest.raises(DataError, match="truncated"):
        iterate_split(noise_dir, split, 4)


def test_missing_shards(tmp_path):
    assert_both_say(tmp_path, "train", r"manifest\.json does not exist: run `dvc repro prepare`")


def test_unknown_split(noise_dir):
    assert_both_say(noise_dir, "trian", r"no split 'trian': did you mean 'train'\?")


def test_a_shard_that_cannot_be_opened(noise_dir):
    path = noise_dir / "heldout-000000.tar"
    path.unlink()
    path.mkdir()
    assert_both_say(noise_dir, "heldout", r"heldout-000000\.tar is missing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"3.png": png(np.zeros((4, 5, 3), np.uint8))}, r"sample 3 .* has shape \(3, 4, 5\), not"),
        ({"3.png": png(np.zeros((8, 8), np.uint8))}, r"sample 3 .* has shape \(3, 8, 8\), not"),
        ({"3.png": b"\x89PNG but not really"}, r"the png of sample 3 cannot be decoded"),
        ({"3.cls": b"3"}, r"sample 3 .* has label 3, not one of 3"),
        ({"3.cls": b"-1"}, r"sample 3 .* has label -1, not one of 3"),
        ({"3.cls": b"cat"}, r"the cls of sample 3 cannot be decoded"),
        ({"3.cls": None}, r"sample 3 .* has no cls"),
        ({"3.png": None}, r"sample 3 .* has no png"),
        ({"3.png": None, "3.cls": None}, r"5 images instead of 6"),
        ({"6.cls": b"0", "6.png": png(np.zeros((4, 4, 3), np.uint8))}, r"7 images instead of 6"),
    ],
)
def test_what_a_shard_holds_is_checked(noise_dir, change, message):
    """Shards that the manifest vouches for, but whose samples are not as it says."""
    members = {k: v for k, v in (good_members() | change).items() if v is not None}
    replace_heldout(noise_dir, members)
    assert_both_say(noise_dir, "heldout", rf"heldout-000000\.tar.*{message}.*|{message}.*{MEND}")


def test_a_file_that_is_no_tar(noise_dir):
    replace_heldout(noise_dir, good_members())
    path = noise_dir / "heldout-000000.tar"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DataError, match=rf"cannot be read \(ReadError while reading it\): {MEND}"):
        load_split(noise_dir, "heldout", verify=False)


class Payload:
    """What would, unpickled, leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_in_a_shard_is_executed(noise_dir, tmp_path):
    payload = pickle.dumps(Payload(tmp_path / "executed"))
    assert b"executed" in payload
    members = good_members() | {
        f"5.{suffix}": payload for suffix in ("pkl", "pyd", "pickle", "pth")
    }
    replace_heldout(noise_dir, members)
    assert len(load_split(noise_dir, "heldout")) == 6
    assert not (tmp_path / "executed").exists()
