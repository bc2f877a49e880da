"""What `pdpipe new --images` sees in a folder, what it leaves out, and what it chooses by that."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dvc.utils.serialize import modify_yaml
from PIL import Image

from pdpipe.errors import ProjectError
from pdpipe.presets.text import edited
from pdpipe.projects.choices import Choice, fallbacks, heldout_count, sample_counts, sizes
from pdpipe.projects.settings import params_of, params_text
from pdpipe.projects.survey import left_out, place, survey

if TYPE_CHECKING:
    from conftest import Draw


def text_of(images: Path, **changes: object) -> str:
    found = survey(images)
    choice = Choice(image_size=sizes(found)[0])
    choice = replace(choice, num_samples=next(sample_counts(found, choice)), **changes)
    return params_text(found, choice)


def test_settings_for_images_can_be_run(images: Path) -> None:
    params = params_of(text_of(images))
    assert (params.data.image_size, params.data.channels) == (12, 3)
    assert params.evaluation.num_samples % 3 == 0
    assert params.evaluation.num_samples <= heldout_count(survey(images), 12)[0] == 48


def test_dvc_changes_one_line_of_them(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text_of(images))
    with modify_yaml(str(path)) as settings:
        settings["teacher"]["updates"] = 7
    pairs = zip(text_of(images).splitlines(), path.read_text().splitlines(), strict=True)
    ((_, changed),) = [(old, new) for old, new in pairs if old != new]
    assert changed.startswith("  updates: 7 ")


def test_every_size_network_and_fallback_can_be_run(images: Path) -> None:
    found = survey(images)
    base = Choice(image_size=8, num_samples=30)
    for side in (8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64):
        for choice in fallbacks(base):
            for channels in (16, 32, 64, 128):
                chosen = replace(choice, image_size=side, base_channels=channels, factor=0.25)
                params = params_of(params_text(found, chosen))
                assert params.data.image_size == side
                assert params.student_steps() == sorted(params.student_steps(), reverse=True)


def test_what_cannot_be_used_is_left_out_and_said(images: Path, draw: Draw, tmp_path: Path) -> None:
    draw(images / "cat", 200, 220)
    draw(images / "cat", 1, 220, size=(5, 30))
    (images / "bee/broken.png").write_bytes(b"no image")
    (images / "bee/list.txt").write_text("not one at all")
    found = survey(images)
    assert (found.total, found.looked_at, sizes(found)[0]) == (262, 262, 12)
    assert found.notes == [f"{images} has what is left out: 1 .txt"]
    assert left_out(found, 12) == (
        "1 image that cannot be read (such as bee/broken.png) and 1 image that is smaller than 12 "
        "pixels (such as cat/225.png)"
    )
    target = tmp_path / "project/data/raw"
    assert place(found, 12, target, copy=False) == "links of 260 of 262 images"
    there = sorted(path.relative_to(target) for path in target.rglob("*.png"))
    assert len(there) == 260
    assert not {Path("bee/broken.png"), Path("cat/225.png")} & {*there}
    assert all((target / path).is_symlink() for path in there)


def test_whole_folders_are_one_link_and_copies_are_copies(images: Path, tmp_path: Path) -> None:
    found = survey(images)
    link, copies = tmp_path / "a/raw", tmp_path / "b/raw"
    place(found, 12, link, copy=False)
    place(found, 12, copies, copy=True)
    assert link.resolve() == images
    shutil.rmtree(images)
    assert len([path for path in copies.rglob("*.png") if path.stat().st_size]) == 60


def test_grey_images_are_grey_and_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(8):
            Image.new("RGB", (16, 20), (index, index, index)).save(tmp_path / name / f"{index}.png")
    assert params_of(text_of(tmp_path)).data.channels == 1
    Image.new("I;16", (16, 16), 40000).save(tmp_path / "a/deep.png")
    data = params_of(text_of(tmp_path)).data
    assert (data.channels, data.sixteen_bit, data.image_size) == (1, "scale", 16)


@pytest.mark.parametrize(
    ("sides", "chosen"),
    [((28,), [28]), ((32, 40), [32, 16]), ((45,), [40, 20]), ((500,), [64, 32, 16]), ((9,), [8])],
)
def test_the_sides_that_are_tried(
    tmp_path: Path, draw: Draw, sides: tuple[int, ...], chosen: list[int]
) -> None:
    for side in sides:
        draw(tmp_path / "a", 10, 100, size=(side, side + 3))
        draw(tmp_path / "b", 10, 100, size=(side, side))
    assert sizes(survey(tmp_path)) == chosen


def test_folders_that_are_none_of_classes_are_refused_in_a_sentence(
    tmp_path: Path, draw: Draw
) -> None:
    with pytest.raises(ProjectError, match=r"^--images .*nowhere does not exist"):
        survey(tmp_path / "nowhere")
    draw(tmp_path / "one/a", 3, 100)
    with pytest.raises(ProjectError, match="has one class folder, a, and the metrics need two"):
        survey(tmp_path / "one")
    with pytest.raises(ProjectError, match="no class folders: move its 3 images"):
        survey(tmp_path / "one/a")
    draw(tmp_path / "one/b", 1, 100)
    (tmp_path / "one/b/broken.png").write_bytes(b"")
    with pytest.raises(ProjectError, match="has 1 image of class b that can be read, and needs"):
        survey(tmp_path / "one")


def test_too_small_and_too_few_images_are_refused_in_a_sentence(tmp_path: Path, draw: Draw) -> None:
    for name in ("a", "b"):
        draw(tmp_path / "small" / name, 20, 100, size=(7, 30))
        draw(tmp_path / "few" / name, 5, 100)
    with pytest.raises(ProjectError, match="whose shorter side is 7 pixels, and the networks need"):
        sizes(survey(tmp_path / "small"))
    with pytest.raises(ProjectError, match="too few images: 2 of them would be left"):
        sizes(survey(tmp_path / "few"))


def test_the_smallest_class_keeps_two_images(images: Path, draw: Draw) -> None:
    draw(images / "cat", 500, 220, size=(32, 32))
    draw(images / "dot", 2, 100, size=(9, 9))
    assert sizes(survey(images)) == [8]


def test_names_with_any_characters_make_no_setting(images: Path, draw: Draw) -> None:
    strange = images.rename(images.with_name("a\nseed: 5 # \x07"))
    draw(strange / "bee", 1, 100, size=(5, 5))
    (strange / "bee/020.png").rename(strange / "bee/a\nseed: 6.png")
    text = text_of(strange)
    assert "such as bee/a\N{REPLACEMENT CHARACTER}seed: 6.png" in text
    assert params_of(text).seed == 0


def test_edited_changes_what_it_is_told_and_no_other_line() -> None:
    text = "a: 1 # one\nb: # two\n  c: 3 # three\n  d: # four\n  - 1\n  - 2\ne:\n  c: 5\n"
    changes = {"b.c": (0.5, "half"), "b.d": ([7], ""), "e.c": ({"x": 1}, "a mapping")}
    assert edited(text, changes) == (
        "a: 1 # one\nb: # two\n  c: 0.5 # half\n  d: # four\n  - 7\n"
        "e:\n  c: # a mapping\n    x: 1\n"
    )
    assert edited(text, {}) == text
    with pytest.raises(KeyError, match=r"b\.x"):
        edited(text, {"b.x": (1, "")})
