from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdpipe.data import read_manifest
from pdpipe.errors import DataError
from pdpipe.files import sealed, unsealed
from pdpipe.sources import open_source, write_shards

Change = Callable[[dict[str, Any]], object]


def change(directory: Path, edit: Change) -> None:
    """Edit manifest.json as a program would that means it, its digest too."""
    path = directory / "manifest.json"
    raw = unsealed(json.loads(path.read_text()))
    edit(raw)
    path.write_text(json.dumps(sealed(raw)))


def train(raw: dict[str, Any]) -> dict[str, Any]:
    return raw["splits"]["train"]


def test_it_says_what_the_shards_hold(digits_dir):
    manifest = read_manifest(digits_dir)
    assert manifest.source == "digits"
    assert manifest.image_shape == (1, 8, 8)
    assert manifest.classes == [str(number) for number in range(10)]
    assert (manifest.seed, manifest.heldout_fraction) == (0, 0.15)
    assert manifest.split("train").count + manifest.split("heldout").count == 1797
    assert [shard.count for shard in manifest.split("train").shards] == [512, 512, 504]


def test_missing(tmp_path):
    message = r"manifest\.json does not exist: run `dvc repro prepare`$"
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b'"x"', b"\xff\xfe", b"{}", b"null"])
def test_damaged(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text)
    message = r"manifest\.json is damaged \(.+\): restore it with `dvc checkout -f`, or write it"
    with pytest.raises(DataError, match=message) as error:
        read_manifest(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        read_manifest(tmp_path)


def test_another_format(noise_dir):
    change(noise_dir, lambda raw: raw.update(format=2, more="of it"))
    with pytest.raises(DataError, match=r"has format 2, but .* reads format 1: run `dvc repro -f"):
        read_manifest(noise_dir)


@pytest.mark.parametrize(
    "name",
    [
        *("../outside.tar", "/etc/passwd", "a/b.tar", "a\\b.tar", "..", ".tar", ".hidden.tar", ""),
        *("a", "train.tar\n", "pipe:rm x.tar", "~.tar", "http://x.tar"),
    ],
)
def test_a_shard_name_cannot_leave_the_folder(noise_dir, name):
    change(noise_dir, lambda raw: train(raw)["shards"][0].update(name=name))
    with pytest.raises(DataError, match=r"the shard name .* is not a plain file name"):
        read_manifest(noise_dir)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: raw["splits"].pop("heldout"), "the split heldout is missing"),
        (lambda raw: train(raw).update(count=25), "do not add up"),
        (lambda raw: train(raw)["shards"].pop(), "do not add up"),
        (lambda raw: train(raw)["class_counts"].append(-1), "greater than or equal to 1"),
        (lambda raw: raw["classes"].pop(), "does not count 2 classes"),
        (lambda raw: raw.update(image_shape=[2, 4, 4]), "image_shape.0"),
        (lambda raw: raw.update(image_shape=[3, 4]), "image_shape"),
        (lambda raw: raw.update(format="1"), "format"),
        (lambda raw: raw.update(colour="red"), "colour"),
        (lambda raw: train(raw)["shards"][0].update(sha256="abc"), r"shards\.0\.sha256"),
        (lambda raw: train(raw)["shards"][0].update(count="10"), r"shards\.0\.count"),
    ],
)
def test_contradictions(noise_dir, edit, message):
    change(noise_dir, edit)
    with pytest.raises(DataError, match=rf"is damaged \(.*{message}.*\): restore it"):
        read_manifest(noise_dir)


def test_a_change_on_the_disk_that_makes_sense_is_noticed(noise_dir):
    path = noise_dir / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(DataError, match=r"is damaged \(its checksum does not match\): restore it"):
        read_manifest(noise_dir)
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 0'))
    assert read_manifest(noise_dir).seed == 0


def test_a_manifest_of_an_earlier_version_has_no_digest(noise_dir):
    path = noise_dir / "manifest.json"
    before = read_manifest(noise_dir)
    path.write_text(json.dumps(unsealed(json.loads(path.read_text()))))
    assert read_manifest(noise_dir) == before


def test_unknown_split(noise_dir):
    manifest = read_manifest(noise_dir)
    with pytest.raises(DataError, match=r"no split 'held-out': did you mean 'heldout'\?"):
        manifest.split("held-out")


def test_the_digest_is_of_the_images_not_of_the_files(tmp_path, digits_dir, data_params):
    """Another shard size gives other files with the same images in the same order."""
    params = data_params(images_per_shard=700)
    other = write_shards(open_source(params), params, seed=0, out_dir=tmp_path / "other")
    assert other.digest == read_manifest(digits_dir).digest
    seeded = write_shards(open_source(params), params, seed=1, out_dir=tmp_path / "seeded")
    assert seeded.digest != other.digest
