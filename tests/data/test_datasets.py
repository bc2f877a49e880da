"""Data sets as they are published, written byte for byte as their makers did, and read again."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pdpipe.errors import DataError
from pdpipe.params import DataParams
from pdpipe.sources import open_source
from pdpipe.sources.pickles import load_pickle
from pdpipe.sources.shards import split_indices

Params = Callable[..., DataParams]
random = np.random.default_rng(0)


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def cifar_files(kind: str) -> tuple[dict[str, bytes], NDArray[np.uint8], list[int]]:
    """{name: pickle}, all images (n, 3072) and labels, in the order of train, then test."""
    names = [f"class {k}" for k in range(10 if kind == "cifar10" else 100)]
    ten = kind == "cifar10"
    parts = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"] if ten else ["train", "test"]
    images = random.integers(0, 256, (len(parts) * len(names), 3072), dtype=np.uint8)
    labels = np.tile(np.arange(len(names)), len(parts)).tolist()
    files = {}
    for k, part in enumerate(parts):
        rows = slice(k * len(names), (k + 1) * len(names))
        key = b"labels" if ten else b"fine_labels"
        found = {b"data": images[rows], key: labels[rows], b"filenames": [b"x.png"]}
        files[part] = pickle.dumps(found, protocol=2)
    meta = {b"label_names" if ten else b"fine_label_names": [name.encode() for name in names]}
    files["batches.meta" if ten else "meta"] = pickle.dumps(meta, protocol=2)
    return files, images, labels


FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def cifar_archive(path: Path, kind: str, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            add(tar, f"{FOLDERS[kind]}/{name}", content)
    return path


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.parametrize("where", ["archive", "beside", "folder", "inside"])
def test_cifar(data_params: Params, tmp_path: Path, kind: str, where: str) -> None:
    files, images, labels = cifar_files(kind)
    path = tmp_path
    if where in ("archive", "beside"):
        archive = cifar_archive(tmp_path / ARCHIVES[kind], kind, files)
        path = archive if where == "archive" else tmp_path
    else:
        for name, content in files.items():
            file = tmp_path / FOLDERS[kind] / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        path = tmp_path if where == "folder" else tmp_path / FOLDERS[kind]
    source = open_source(data_params(source=kind, path=str(path), image_size=32, channels=3))
    assert source.labels.tolist() == labels
    assert source.classes[3] == "class 3"
    for k in (0, len(labels) // 2, len(labels) - 1):
        assert (source[k] == images[k].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    assert source.heldout is not None
    assert source.heldout.sum() == len(source.classes)
    assert source.heldout[-len(source.classes) :].all()
    splits = split_indices(source, 0.1, seed=0)
    assert sorted(splits["heldout"].tolist()) == np.flatnonzero(source.heldout).tolist()


def test_smaller_and_grey_as_folders_of_images_are(data_params: Params, tmp_path: Path) -> None:
    files, images, _ = cifar_files("cifar10")
    cifar_archive(tmp_path / ARCHIVES["cifar10"], "cifar10", files)
    source = open_source(
        data_params(source="cifar10", path=str(tmp_path), image_size=8, channels=1)
    )
    whole = Image.fromarray(images[7].reshape(3, 32, 32).transpose(1, 2, 0)).convert("L")
    expected = np.asarray(whole.resize((8, 8), Image.Resampling.BOX))
    assert (source[7][:, :, 0] == expected).all()


def broken_cifar(change: Callable[[dict[str, bytes]], object]) -> dict[str, bytes]:
    files, _, _ = cifar_files("cifar10")
    change(files)
    return files


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


def with_batch(**fields: object) -> dict[str, bytes]:
    found = {b"data": np.zeros((10, 3072), np.uint8), b"labels": list(range(10))}
    found |= {name.encode(): value for name, value in fields.items()}
    kept = {name: value for name, value in found.items() if value is not None}
    return broken_cifar(lambda files: files.update(data_batch_3=pickle.dumps(kept, protocol=2)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (broken_cifar(lambda files: files.pop("test_batch")), r"test_batch in .* is missing"),
        (with_batch(labels=None), r"data_batch_3 in .* has no data, labels"),
        (with_batch(labels=[*range(9), 10]), r"data_batch_3 holds labels outside 0 to 9"),
        (with_batch(labels=list(range(9))), r"images of shape \(10, 3072\) and 9 labels"),
        (with_batch(data=np.zeros((10, 3000), np.uint8)), r"of shape \(10, 3000\)"),
        (with_batch(data=np.zeros((10, 3072), np.float32)), r"no images of uint8"),
        (with_batch(data=np.array([None] * 10)), r"arrays of other things than numbers"),
        (with_batch(labels=Evil()), r"asks for (posix|nt)\.system, .* nothing of it was run"),
        (broken_cifar(lambda f: f.update(data_batch_2=f["data_batch_2"][:500])), r"is damaged"),
        (broken_cifar(lambda f: f.update(data_batch_2=b"")), r"data_batch_2 in .* is damaged"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:24],
)
def test_cifar_that_cannot_be_used(
    data_params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, bytes],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = cifar_archive(tmp_path / ARCHIVES["cifar10"], "cifar10", files)
    with pytest.raises(DataError, match=message):
        open_source(data_params(source="cifar10", path=str(path), image_size=32, channels=3))
    assert not (tmp_path / "evil").exists()


def test_a_truncated_archive_and_a_link_out_of_it(data_params: Params, tmp_path: Path) -> None:
    files, _, _ = cifar_files("cifar10")
    path = cifar_archive(tmp_path / ARCHIVES["cifar10"], "cifar10", files)
    settings = {"source": "cifar10", "path": str(path), "image_size": 32, "channels": 3}
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"cannot be read|is missing|is cut off"):
        open_source(data_params(**settings))
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(DataError, match="is no file of the data set"):
        open_source(data_params(**settings))
    path.unlink()
    with pytest.raises(DataError, match=r"no cifar-10-python\.tar\.gz .*download the python"):
        open_source(data_params(**settings | {"path": str(tmp_path)}))


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_and_arrays_come_back(protocol: int) -> None:
    value = {
        "a": [1, 2.5, None, True, "text"],
        b"b": np.arange(6, dtype=">i4").reshape(2, 3),
        "c": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    }
    found = load_pickle(pickle.dumps(value, protocol), "it")
    assert found.keys() == value.keys()
    assert found["a"] == value["a"]
    for name in (b"b", "c"):
        assert found[name].dtype == value[name].dtype
        assert (found[name] == value[name]).all()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil()),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n.",
        b"cpdpipe.sources.pickles\n_DType\n.",
        pickle.dumps(np.ndarray),
        pickle.dumps({1, 2}),
        b"(dp0\ng7\n.",
    ],
)
def test_no_other_name_is_reached(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^it (asks for|holds|is damaged)"):
        load_pickle(content, "it")


def idx(array: NDArray[np.uint8]) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


def mnist(folder: Path, side: int = 28, packed: bool = True) -> tuple[NDArray[np.uint8], list[int]]:
    images = random.integers(0, 256, (30, side, side), dtype=np.uint8)
    labels = np.tile(np.arange(5), 6).astype(np.uint8)
    for name, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        for what, array in (("images-idx3", images[rows]), ("labels-idx1", labels[rows])):
            path = folder / f"{name}-{what}-ubyte{'.gz' if packed else ''}"
            content = idx(array)
            path.write_bytes(gzip.compress(content) if packed else content)
    return images, labels.tolist()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [28, 32, 14])
def test_idx(data_params: Params, tmp_path: Path, packed: bool, size: int) -> None:
    images, labels = mnist(tmp_path, packed=packed)
    source = open_source(data_params(source="idx", path=str(tmp_path), image_size=size, channels=1))
    assert source.labels.tolist() == labels
    assert source.classes == ["0", "1", "2", "3", "4"]
    assert source.heldout is not None
    assert np.flatnonzero(source.heldout).tolist() == list(range(20, 30))
    own = images[11]
    expected = {
        28: own,
        32: np.pad(own, 2),
        14: np.asarray(Image.fromarray(own).resize((14, 14), Image.Resampling.BOX)),
    }[size]
    assert (source[11][:, :, 0] == expected).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"\x1f\x8b broken", "cannot be read"),
        ("train-images-idx3-ubyte.gz", idx(np.zeros((20, 28, 28), np.uint8))[:-5], "fewer"),
        ("train-images-idx3-ubyte.gz", idx(np.zeros((20, 28, 28), np.uint8)) + b"x", "more"),
        ("train-images-idx3-ubyte.gz", b"\0\0\x0d\x03" + bytes(12), "no idx file of uint8"),
        ("train-images-idx3-ubyte.gz", b"\0\0\x08\x03" + b"\xff" * 12, "says that it holds"),
        ("train-labels-idx1-ubyte.gz", idx(np.zeros(19, np.uint8)), "one label for each"),
        ("t10k-images-idx3-ubyte.gz", idx(np.zeros((10, 20, 28), np.uint8)), "one data set"),
        ("t10k-labels-idx1-ubyte.gz", None, "one file of test labels.* but there are none"),
        ("my-train-images-idx3-ubyte", idx(np.zeros((2, 2, 2), np.uint8)), "are several"),
    ],
)
def test_idx_that_cannot_be_used(
    data_params: Params, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    mnist(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(data_params(source="idx", path=str(tmp_path), image_size=28, channels=1))


def downsampled(folder: Path, side: int, packed: bool) -> tuple[NDArray[np.uint8], list[int]]:
    images = random.integers(0, 256, (50, 3 * side * side), dtype=np.uint8)
    labels = np.tile(np.arange(1, 11), 5)
    save = np.savez_compressed if packed else np.savez
    names = ["train_data_batch_1", "train_data_batch_2", "train_data_batch_10", "val_data"]
    for name, rows in zip(names, ((0, 20), (20, 30), (30, 40), (40, 50)), strict=True):
        part = slice(*rows)
        save(folder / f"{name}.npz", data=images[part], labels=labels[part], mean=images[0])
    return images, labels.tolist()


@pytest.mark.parametrize("packed", [True, False], ids=["deflated", "stored"])
@pytest.mark.parametrize("side", [32, 64])
def test_downsampled_imagenet(
    data_params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    side: int,
    packed: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    images, labels = downsampled(raw, side, packed)
    name = f"imagenet{side}"
    settings = {"source": name, "path": str(raw), "image_size": side, "channels": 3}
    source = open_source(data_params(**settings))
    assert source.labels.tolist() == [label - 1 for label in labels]
    assert len(source.classes) == 1000
    for k in (0, 19, 20, 35, 49):
        assert (source[k] == images[k].reshape(3, side, side).transpose(1, 2, 0)).all()
    assert source.heldout is not None
    assert np.flatnonzero(source.heldout).tolist() == list(range(40, 50))
    if packed:  # what was unpacked and changed on the disk is unpacked again
        (file,) = tmp_path.glob(".pdpipe/unpacked/train_data_batch_2-*-data.npy")
        content = file.read_bytes()
        file.unlink()  # another file, since this one is mapped
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert (open_source(data_params(**settings))[29] == source[29]).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.ones(4, int)}, r"holds no array data"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": np.ones(3, int)}, "not one for each"),
        ({"data": np.zeros((4, 12), np.uint8), "labels": np.ones(4, int)}, "of another size"),
        ({"data": np.zeros((4, 3072), np.uint8), "labels": np.zeros(4, int)}, "outside 1 to 1000"),
        (
            {"data": np.array([Evil()], dtype=object), "labels": np.ones(1, int)},
            "not plain rows of numbers",
        ),
    ],
)
def test_npz_that_cannot_be_used(
    data_params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrays: dict[str, NDArray[np.generic]],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    downsampled(raw, 32, packed=False)
    np.savez(raw / "val_data.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_source(data_params(source="imagenet32", path=str(raw), image_size=32, channels=3))
    assert not (tmp_path / "evil").exists()


def test_an_npz_that_would_fill_the_disk_is_not_unpacked(
    data_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory of the zip says 2^40 bytes; nothing of them is written."""
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    raw.mkdir()
    downsampled(raw, 32, packed=True)
    with zipfile.ZipFile(raw / "val_data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", b"")
        info = zipfile.ZipInfo("data.npy")
        archive.writestr(info, b"0" * 1000, zipfile.ZIP_DEFLATED)
        info.file_size = 2**40
    with pytest.raises(DataError, match=r"val_data\.npz takes 1024\.0 GiB unpacked"):
        open_source(data_params(source="imagenet32", path=str(raw), image_size=32, channels=3))


@pytest.mark.parametrize("layout", ["grey", "last", "first"])
def test_arrays(data_params: Params, tmp_path: Path, layout: str) -> None:
    shape = {"grey": (12, 8, 8), "last": (12, 8, 8, 3), "first": (12, 3, 8, 8)}[layout]
    images = random.integers(0, 256, shape, dtype=np.uint8)
    labels = np.tile([7, 2], 6)
    np.save(tmp_path / "a.npy", images[:8])
    np.save(tmp_path / "a-labels.npy", labels[:8])
    channels = 1 if layout == "grey" else 3
    settings = {"source": "npy", "image_size": 8, "channels": channels}
    alone = open_source(data_params(**settings, path=str(tmp_path / "a.npy")))
    assert alone.heldout is None
    np.save(tmp_path / "test.npy", images[8:])
    np.save(tmp_path / "test-labels.npy", labels[8:])
    source = open_source(data_params(**settings, path=str(tmp_path)))
    assert source.classes == ["2", "7"]
    assert source.labels.tolist() == [1, 0] * 6
    assert source.heldout is not None
    assert np.flatnonzero(source.heldout).tolist() == list(range(8, 12))
    expected = images[9][..., None] if layout == "grey" else images[9]
    assert (source[9] == (expected.transpose(1, 2, 0) if layout == "first" else expected)).all()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (None, None, "no npy file of images"),
        (np.zeros((4, 8, 8), np.uint8), None, r"has no labels: .*images-labels\.npy"),
        (np.zeros((4, 8, 8), np.float32), np.zeros(4, int), "float32 of shape"),
        (np.zeros((4, 8, 8, 2), np.uint8), np.zeros(4, int), "1 or 3 channels"),
        (np.zeros((4, 8, 8), np.uint8), np.zeros(3, int), "one whole number for each of 4"),
        (np.zeros((4, 8, 8), np.uint8), np.zeros(4), "not one whole number"),
        (np.array([Evil()], dtype=object), np.zeros(1, int), "cannot be read"),
    ],
)
def test_arrays_that_cannot_be_used(
    data_params: Params,
    tmp_path: Path,
    images: NDArray[np.generic] | None,
    labels: NDArray[np.generic] | None,
    message: str,
) -> None:
    for name, array in (("images", images), ("images-labels", labels)):
        if array is not None:
            np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(DataError, match=message):
        open_source(data_params(source="npy", path=str(tmp_path), image_size=8, channels=1))


def test_a_truncated_array(data_params: Params, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((100, 8, 8), np.uint8))
    np.save(tmp_path / "images-labels.npy", np.zeros(100, int))
    path = tmp_path / "images.npy"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"images\.npy cannot be read"):
        open_source(data_params(source="npy", path=str(path), image_size=8, channels=1))
