from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pdpipe.errors import DataError, ParamsError
from pdpipe.sources import open_source
from pdpipe.sources.images import image_formats


def save(path: Path, value: int, mode: str = "L", size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (value,) * len(mode) if mode == "RGB" else value
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, grey and RGB, of several sizes and formats; brightness tells the images apart.

    The capital letter, and so the bright class, sorts first.
    """
    root = tmp_path / "images"
    save(root / "dog" / "b.png", 20, "L", (8, 8))
    save(root / "dog" / "a.PNG", 10, "RGB", (16, 16))
    save(root / "dog" / "c.jpg", 30, "RGB", (8, 24))
    save(root / "Cat" / "2.webp", 220, "RGB", (9, 9))
    save(root / "Cat" / "1.png", 210, "L", (33, 20))
    return root


def pairs(source) -> list[tuple[np.ndarray, int]]:
    """Every (image, label), in the order of the source."""
    return [(source[index], int(label)) for index, label in enumerate(source.labels)]


def brightness(source) -> list[tuple[int, int]]:
    """(mean value rounded to tens, label) of every image, in order."""
    return [(round(float(image.mean()), -1), label) for image, label in pairs(source)]


def test_digits_are_scikit_learns(data_params):
    source = open_source(data_params())
    digits = load_digits()
    assert (source.name, len(source)) == ("digits", 1797)
    assert source.classes == [str(number) for number in range(10)]
    assert np.array_equal(source.labels, digits.target)
    for (image, label), values, target in zip(
        pairs(source), digits.images, digits.target, strict=True
    ):
        expected = [[round(v * 255 / 16) for v in row] for row in values.tolist()]
        assert image.dtype == np.uint8
        assert image.shape == (8, 8, 1)
        assert image[:, :, 0].tolist() == expected
        assert label == target


@pytest.mark.parametrize("changes", [{"image_size": 16}, {"channels": 3}])
def test_digits_have_one_shape(data_params, changes):
    with pytest.raises(ParamsError, match=r"8x8 and grey: set them to 8 and 1"):
        open_source(data_params(**changes))


@pytest.mark.parametrize("channels", [1, 3])
def test_folder(data_params, folder, channels):
    source = open_source(data_params(source="folder", path=str(folder), channels=channels))
    assert source.name == "folder"
    assert source.classes == ["Cat", "dog"]
    assert source.labels.tolist() == [0, 0, 1, 1, 1]
    assert {image.shape for image, _ in pairs(source)} == {(8, 8, channels)}
    assert {image.dtype for image, _ in pairs(source)} == {np.dtype(np.uint8)}
    assert brightness(source) == [(210, 0), (220, 0), (10, 1), (20, 1), (30, 1)]


def test_folder_leaves_out_what_is_no_image_and_says_so(data_params, folder):
    (folder / "readme.md").write_text("notes")
    save(folder / "stray.png", 99)
    save(folder / ".hidden" / "a.png", 99)
    save(folder / "dog" / ".hidden.png", 99)
    save(folder / "dog" / "more" / "d.png", 99)
    (folder / "dog" / "Thumbs.db").write_bytes(b"thumbs")
    (folder / "dog" / "folder.png").mkdir()
    os.mkfifo(folder / "dog" / "pipe.png")  # opening it would wait for ever
    for name in ("a.heic", "b.HEIC", "list", "1.txt"):
        (folder / "Cat" / name).write_bytes(b"?")
    for junk in ("@eaDir", "__MACOSX"):
        save(folder / junk / "a.png", 99)
        save(folder / "dog" / junk / "a.png", 99)
    source = open_source(data_params(source="folder", path=str(folder)))
    assert source.classes == ["Cat", "dog"]
    assert brightness(source) == [(210, 0), (220, 0), (10, 1), (20, 1), (30, 1)]
    (note,) = source.notes()
    start, *parts = note.split(": ", 1)[0], *note.split(": ", 1)[1].split(", ")
    assert start == f"{folder} has what is left out"
    assert parts[0] == "2 .heic"
    assert set(parts[1:-2]) == {"1 .txt", "1 .png", "1 file without a suffix"}
    assert parts[-2:] == [
        f"1 image in folders inside a class (such as {folder}/dog/more)",
        "1 image beside the class folders",
    ]


def test_a_folder_of_images_alone_has_nothing_to_say(data_params, folder):
    assert open_source(data_params(source="folder", path=str(folder))).notes() == []
    assert open_source(data_params()).notes() == []


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JPEG", ".avif", ".jp2"])
def test_folder_takes_what_pillow_reads(data_params, folder, suffix):
    if suffix.lower() not in image_formats():
        pytest.skip("this Pillow does not read it")
    path = folder / "emu" / f"1{suffix}"
    path.parent.mkdir()
    Image.new("L", (16, 16), 150).save(path, format=image_formats()[suffix.lower()])
    source = open_source(data_params(source="folder", path=str(folder)))
    assert brightness(source)[-1] == (150, 2)


def test_images_one_level_deeper_are_said(data_params, folder, tmp_path):
    root = tmp_path / "split"
    root.mkdir()
    folder.rename(root / "train")
    message = r"split/train has no images directly .*but 5 images one level deeper, such as in \S+"
    with pytest.raises(
        DataError, match=message + r"/train/Cat: .*set data\.path to \S+/split/train"
    ):
        open_source(data_params(source="folder", path=str(root)))


def test_a_name_that_is_not_utf8(data_params, folder):
    path = os.fsencode(folder) + b"/dog/caf\xe9.png"
    with open(path, "wb"):  # noqa: PTH123
        pass
    with pytest.raises(DataError, match=r"dog holds the name 'caf\\xe9\.png', not UTF-8: rename"):
        open_source(data_params(source="folder", path=str(folder)))


def test_folder_follows_links(data_params, folder, tmp_path):
    save(tmp_path / "elsewhere" / "x.png", 150)
    (folder / "dog" / "d.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (folder / "emu").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    source = open_source(data_params(source="folder", path=str(folder)))
    assert source.classes == ["Cat", "dog", "emu"]
    assert brightness(source)[-2:] == [(150, 1), (150, 2)]


def test_a_link_that_leads_nowhere_is_an_unreadable_image(data_params, folder):
    (folder / "dog" / "lost.png").symlink_to(folder / "nowhere.png")
    source = open_source(data_params(source="folder", path=str(folder)))
    with pytest.raises(DataError, match=r"lost\.png cannot be read"):
        pairs(source)


def test_folder_names_the_damaged_image(data_params, folder):
    (folder / "dog" / "b.png").write_bytes((folder / "dog" / "b.png").read_bytes()[:-30])
    source = open_source(data_params(source="folder", path=str(folder)))
    with pytest.raises(DataError, match=r"dog/b\.png cannot be read .*: replace or remove it$"):
        pairs(source)


def test_folder_without_path(data_params):
    with pytest.raises(
        ParamsError, match=r"data\.path is empty: name the folder that holds class/name\.png"
    ):
        open_source(data_params(source="folder", path=""))


def test_a_path_from_home(data_params):
    with pytest.raises(
        ParamsError, match=r"data\.path is ~/x, but DVC takes ~ .*: write the whole"
    ):
        data_params(source="folder", path="~/x")


def test_folder_that_is_not_there(data_params, tmp_path):
    with pytest.raises(DataError, match=r"data\.path .*nowhere does not exist: set it to the"):
        open_source(data_params(source="folder", path=str(tmp_path / "nowhere")))


def test_folder_that_is_a_file(data_params, folder):
    with pytest.raises(DataError, match=r"a\.PNG is not a folder: set it to the folder of"):
        open_source(data_params(source="folder", path=str(folder / "dog" / "a.PNG")))


def test_folder_without_classes(data_params, folder):
    with pytest.raises(DataError, match=r"dog has no class folders: move its 3 images in .*png,"):
        open_source(data_params(source="folder", path=str(folder / "dog")))


def test_folder_with_an_empty_class(data_params, folder):
    (folder / "yak").mkdir()
    (folder / "yak" / "notes.txt").write_text("none yet")
    with pytest.raises(
        DataError, match=r"class folder .*yak has no images directly in it but \.txt .*add"
    ):
        open_source(data_params(source="folder", path=str(folder)))


@pytest.mark.parametrize("name", ["lsun-church", "lsun-bedroom"])
def test_later_sources_say_what_to_do_meanwhile(data_params, name):
    message = rf"data\.source {name} arrives in a later release: .*data\.source to folder"
    with pytest.raises(DataError, match=message):
        open_source(data_params(source=name))


def test_unknown_source(data_params):
    with pytest.raises(ParamsError, match=r"data\.source is 'digit': did you mean 'digits'\?"):
        open_source(data_params(source="digit"))
    with pytest.raises(ParamsError, match=r"choose from digits, folder, cifar10, cifar100, idx"):
        open_source(data_params(source="?"))
