"""Shards that are missing, damaged, or hold something else than their manifest says."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pdpipe.data import load_split
from pdpipe.errors import DataError
from pdpipe.files import digest_file, sealed, unsealed

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
    manifest = unsealed(json.loads((directory / "manifest.json").read_text()))
    shard = manifest["splits"]["heldout"]["shards"][0]
    shard.update(sha256=digest_file(path), bytes=path.stat().st_size)
    (directory / "manifest.json").write_text(json.dumps(sealed(manifest)))


def assert_says(directory: Path, split: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        load_split(directory, split)
    assert "\n" not in str(error.value)


def test_a_missing_shard(noise_dir):
    (noise_dir / "train-000001.tar").unlink()
    assert_says(noise_dir, "train", rf"the shard .*train-000001\.tar is missing: {MEND}")
    assert len(load_split(noise_dir, "heldout")) == 6


def test_a_truncated_shard(noise_dir):
    path = noise_dir / "train-000002.tar"
    os.truncate(path, 1000)
    message = rf"train-000002\.tar is truncated \(1000 bytes instead of \d+\): {MEND}"
    assert_says(noise_dir, "train", message)


def test_a_longer_shard(noise_dir):
    with (noise_dir / "train-000000.tar").open("ab") as stream:
        stream.write(b"more")
    assert_says(noise_dir, "train", rf"train-000000\.tar is altered \(\d+ bytes .*: {MEND}")


def test_one_flipped_bit(noise_dir):
    path = noise_dir / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # in the padding, where reading would never notice
    path.write_bytes(data)
    message = rf"train-000001\.tar is altered \(its sha256 differs\): {MEND}"
    assert_says(noise_dir, "train", message)
    assert len(load_split(noise_dir, "train", verify=False)) == 24


def test_missing_shards(tmp_path):
    assert_says(tmp_path, "train", r"manifest\.json does not exist: run `dvc repro prepare`")


def test_unknown_split(noise_dir):
    assert_says(noise_dir, "trian", r"no split 'trian': did you mean 'train'\?")


def test_a_shard_that_cannot_be_opened(noise_dir):
    path = noise_dir / "heldout-000000.tar"
    path.unlink()
    path.mkdir()
    assert_says(noise_dir, "heldout", r"heldout-000000\.tar is missing")


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
    assert_says(noise_dir, "heldout", rf"heldout-000000\.tar.*{message}.*|{message}.*{MEND}")


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


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_an_error_in_a_worker_is_still_one_sentence(noise_dir):
    replace_heldout(noise_dir, good_members() | {"3.cls": b"cat"})
    with pytest.raises(DataError, match=rf"the cls of sample 3 cannot .*: {MEND}") as error:
        load_split(noise_dir, "heldout", workers=1)
    assert "\n" not in str(error.value)
