from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pdpipe.data import read_manifest
from pdpipe.errors import DataError
from pdpipe.files import digest_file
from pdpipe.sources import open_source, write_shards
from pdpipe.sources.shards import split_indices


def contents(directory: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(directory.iterdir()) if p.is_file()}


def samples(directory: Path, split: str) -> list[tuple[str, np.ndarray, int]]:
    """(key, image, label) of a split, read by Python's tarfile and Pillow alone."""
    found = []
    for path in sorted(directory.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
        for name in files:
            if name.endswith(".png"):
                key = name.removesuffix(".png")
                image = np.asarray(Image.open(io.BytesIO(files[name])))
                found.append((key, image, int(files[f"{key}.cls"])))
    return found


def test_every_digit_is_in_one_split_bit_for_bit(digits_dir):
    digits = load_digits()
    found = samples(digits_dir, "train") + samples(digits_dir, "heldout")
    assert sorted(int(key) for key, _, _ in found) == list(range(1797))
    for key, image, label in found:
        values = digits.images[int(key)].tolist()
        assert image.tolist() == [[round(v * 255 / 16) for v in row] for row in values]
        assert label == digits.target[int(key)]


def test_the_split_is_stratified_exactly(digits_dir):
    sizes = np.bincount(load_digits().target)
    expected = [round(0.15 * size) for size in sizes.tolist()]
    labels = {split: [s[2] for s in samples(digits_dir, split)] for split in ("train", "heldout")}
    assert np.bincount(labels["heldout"]).tolist() == expected
    assert np.bincount(labels["train"]).tolist() == (sizes - expected).tolist()
    manifest = read_manifest(digits_dir)
    for split, found in labels.items():
        assert manifest.split(split).class_counts == np.bincount(found).tolist()


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.01, [1, 1, 1]), (0.5, [1, 1, 50]), (0.25, [1, 1, 25])]
)
def test_every_class_keeps_one_image_on_each_side(noise_source, fraction, expected):
    source = noise_source([2, 3, 100], (4, 4, 1))
    if fraction == 0.5:
        expected = [1, 2, 50]  # round(1.5) is 2
    split = split_indices(source, fraction, seed=0)
    assert np.bincount(source.labels[split["heldout"]]).tolist() == expected
    together = np.concatenate([split["train"], split["heldout"]])
    assert sorted(together) == list(range(105))


def test_another_seed_holds_out_other_images_as_many_of_each_class(noise_source):
    source = noise_source([40, 60], (4, 4, 1))
    one, other = (split_indices(source, 0.3, seed)["heldout"] for seed in (0, 1))
    assert set(one) != set(other)
    for heldout in (one, other):
        assert np.bincount(source.labels[heldout]).tolist() == [12, 18]


def test_which_images_of_a_class_are_held_out_depends_on_that_class_alone(noise_source):
    """More images of another class must not move these: labels come before images."""
    small, large = noise_source([40, 60], (4, 4, 1)), noise_source([40, 600], (4, 4, 1))
    splits = [split_indices(source, 0.3, seed=0)["heldout"] for source in (small, large)]
    assert {i for i in splits[0] if i < 40} == {i for i in splits[1] if i < 40}


def test_shards_mix_classes(tmp_path, noise_source, data_params):
    """The source has one class after the other; every shard has its share of each."""
    source = noise_source([200, 400], (4, 4, 1))
    params = data_params(image_size=4, heldout_fraction=0.5, images_per_shard=60)
    write_shards(source, params, 0, tmp_path)
    paths = sorted(tmp_path.glob("*.tar"))
    assert len(paths) == 10
    for path in paths:
        with tarfile.open(path) as tar:
            files = [m for m in tar.getmembers() if m.name.endswith(".cls")]
            counts = np.bincount([int(tar.extractfile(m).read()) for m in files], minlength=2)
        assert 8 <= counts[0] <= 32  # 20 expected, sd 3.5


def test_shards_hold_no_clock_user_or_machine(digits_dir):
    with tarfile.open(digits_dir / "train-000000.tar") as tar:
        for member in tar.getmembers():
            assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
            assert (member.uname, member.gname, member.mode) == ("", "", 0o644)


def test_the_manifest_counts_and_digests_the_files(digits_dir):
    manifest = read_manifest(digits_dir)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    assert {s.name for s in shards} == {p.name for p in digits_dir.glob("*.tar")}
    for shard in shards:
        path = digits_dir / shard.name
        assert (shard.sha256, shard.bytes) == (digest_file(path), path.stat().st_size)


def test_progress_counts_every_image(tmp_path, noise_source, data_params):
    seen: list[int] = []
    params = data_params(image_size=4, images_per_shard=4)
    write_shards(noise_source([5, 6], (4, 4, 1)), params, 0, tmp_path, progress=seen.append)
    assert seen == list(range(1, 12))


@pytest.mark.parametrize(("counts", "problem"), [([4, 1], "has 1 image,"), ([4, 0], "0 images,")])
def test_a_class_too_small_to_split(tmp_path, noise_source, data_params, counts, problem):
    source = noise_source(counts, (4, 4, 1))
    message = rf"class 'class 1' of data\.source noise .*{problem} but needs one to train on and"
    with pytest.raises(DataError, match=message):
        write_shards(source, data_params(image_size=4), 0, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def many_images(root: Path, count: int) -> None:
    for index in range(count):
        path = root / "ab"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 50).save(path)


def test_an_unreadable_image_is_refused_before_anything_is_written(tmp_path, data_params):
    many_images(tmp_path / "images", 5)
    params = data_params(source="folder", path=str(tmp_path / "images"), images_per_shard=2)
    write_shards(open_source(params), params, 0, tmp_path / "shards")
    before = contents(tmp_path / "shards")
    (tmp_path / "images/b/03.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"^the image \S+b/03\.png cannot be read"):
        write_shards(open_source(params), params, 0, tmp_path / "shards")
    assert contents(tmp_path / "shards") == before
    assert list((tmp_path / "shards").iterdir()) == [tmp_path / "shards" / n for n in before]


@pytest.mark.parametrize("bad", [2, 13, 30])
def test_all_unreadable_images_are_told_at_once(tmp_path, data_params, bad):
    many_images(tmp_path / "images", 30)
    paths = sorted((tmp_path / "images").rglob("*.png"))
    for path in paths[1:bad]:
        path.write_bytes(b"not an image")
    Image.new("L", (7, 8)).save(paths[0])
    params = data_params(source="folder", path=str(tmp_path / "images"))
    seen: list[int] = []
    with pytest.raises(DataError) as caught:
        write_shards(open_source(params), params, 0, tmp_path / "shards", seen.append)
    sentence = str(caught.value)
    assert sentence.startswith(f"{bad} of 30 images cannot be used: {paths[0]} is 7x8, smaller")
    assert [str(path) in sentence for path in paths] == [i < min(bad, 10) for i in range(30)]
    assert (f", and {bad - 10} more" in sentence) == (bad > 10)
    assert sentence.endswith(": remove it, or lower data.image_size; replace or remove it")
    assert seen == list(range(1, 31))
    assert list((tmp_path / "shards").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from pdpipe.sources import open_source, write_shards
from pdpipe.params import DataParams

params = DataParams.model_validate_json(sys.argv[1])
def progress(done):
    if done == 700:
        os.kill(os.getpid(), signal.SIGKILL)
write_shards(open_source(params), params, 0, Path(sys.argv[2]), progress)
"""


def test_a_kill_leaves_only_whole_shards_and_the_next_run_equals_an_unbroken_one(
    tmp_path, digits_dir, data_params
):
    params = data_params()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, params.model_dump_json(), str(tmp_path)]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    unbroken = contents(digits_dir)
    assert contents(tmp_path) == {}
    finished = contents(tmp_path / ".unfinished")
    assert finished.pop("train-000000.tar") == unbroken["train-000000.tar"]
    assert all(name.startswith(".") for name in finished)
    with pytest.raises(DataError, match=r"manifest\.json does not exist"):
        read_manifest(tmp_path)
    (tmp_path / "train-000099.tar").write_bytes(b"of a larger run")
    write_shards(open_source(params), params, 0, tmp_path)
    assert contents(tmp_path) == unbroken
    assert not (tmp_path / ".unfinished").exists()


def test_memory_does_not_grow_with_the_data(tmp_path, noise_source, data_params):
    """19 MB of images pass through; what is held at once is a fraction of it."""
    source = noise_source([50, 50], (256, 256, 3))
    params = data_params(image_size=256, channels=3, images_per_shard=50)
    tracemalloc.start()
    try:
        write_shards(source, params, 0, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4e6
