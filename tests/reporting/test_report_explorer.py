"""The explorer holds every sample once, in order, and no more than a page can bear."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from pdpipe.errors import EvaluationError
from pdpipe.reporting import explorer
from pdpipe.reporting.headline import headline
from pdpipe.reporting.measurements import measurements
from pdpipe.reporting.results import read_results
from pdpipe.reporting.sheets import Sheet, read_sheets


def explorer_of(chain):
    m = measurements(read_results(chain.params, chain.results_dir))
    return explorer.explorer(m, read_sheets(chain.params, chain.results_dir), headline(m))


def test_it_starts_at_the_headline(full_chain):
    shown = explorer_of(full_chain)
    assert (shown.steps, shown.w) == ([1, 2, 4, 8], [0.0, 0.3, 2.0])
    assert shown.start == (0, 1)  # 1 step at w = 0.3


def test_each_panel_has_its_own_sheets_and_figures(full_chain):
    shown = explorer_of(full_chain)
    assert list(shown.figures) == [
        *("NFE ↓", "FID ↓", "FID at the held-out count ↓", "IS ↑", "KID ↓", "MMD ↓"),
        *("precision ↑", "recall ↑", "label accuracy ↑", "paired error ↓", "ms/image ↓"),
    ]
    assert all(shown.figures.values())
    kinds = {"student": ("student", shown.steps), "teacher": ("teacher", shown.steps)}
    for panel in shown.panels:
        kind, steps = kinds.get(panel.name, ("teacher", [16]))
        for n, sprite, figures in zip(steps, panel.sprites, panel.figures, strict=True):
            sheet = full_chain.sheet(kind, n)[:, :, :, 0]
            rows = sprite.reshape(3, 10, 8, 8, 8)  # w, class, y, column, x
            assert (rows.transpose(0, 1, 3, 2, 4) == sheet).all()
            for w, (nfe, fid, *_) in zip(full_chain.w, figures, strict=True):
                assert nfe == (f"{n}" if kind == "student" or w == 0 else f"{n} × 2")
                assert fid.startswith(f"{full_chain.value('fid', kind, n, w):.2f} ± ")


def test_real_images_stand_beside_them(full_chain):
    shown = explorer_of(full_chain)
    real = full_chain.sheet("teacher", 16)[0, :, :3, 0]  # as the fixture has it: three of a class
    assert shown.real_columns == 3
    rows = shown.real.reshape(10, 8, 3, 8)
    assert (rows.transpose(0, 2, 1, 3) == real).all()


def test_real_images_of_other_classes_or_shapes_are_refused(make_chain):
    chain = make_chain()
    path = chain.results_dir / "samples/real.safetensors"
    for classes, shape in ((["x"] * 10, (1, 8, 8)), (chain.classes, (3, 8, 8))):
        about = {"sheet": json.dumps({"classes": classes})}
        save_file({"real": np.zeros((10, 2, *shape), np.uint8)}, path, metadata=about)
        with pytest.raises(EvaluationError, match=r"other classes or shapes .*: run `dvc repro`"):
            read_sheets(chain.params, chain.results_dir)


def test_colours_are_last(make_chain):
    chain = make_chain(w=(0.5,), channels=3, image_size=16)
    student = explorer_of(chain).panels[0]
    assert student.sprites[0].shape == (3 * 16, 8 * 16, 3)
    image = chain.sheet("student", 1)[0, 2, 7]
    assert (student.sprites[0][32:, 7 * 16 :] == image.transpose(1, 2, 0)).all()


def test_without_students_there_is_none(make_chain):
    assert explorer_of(make_chain(ladder=())) is None


@pytest.mark.parametrize(
    ("shape", "sheets", "expected"),
    [
        ((5, 10, 8, 1, 8, 8), 13, (10, 8)),  # the digits: all of it
        ((5, 10, 8, 3, 32, 32), 21, (10, 5)),  # CIFAR-10 from 1024 steps
        ((5, 10, 8, 3, 64, 64), 21, (3, 4)),  # ImageNet 64 x 64 from 1024 steps
        ((1, 1, 8, 3, 128, 128), 21, (1, 8)),  # LSUN, unconditional
        ((9, 10, 8, 3, 256, 256), 21, (1, 1)),  # never nothing
    ],
)
def test_large_images_are_fewer(shape, sheets, expected):
    num_w, num_classes, *_ = shape
    images = np.broadcast_to(np.uint8(0), shape)
    names = [str(k) for k in range(num_classes)]
    sheet = Sheet(w=[float(k) for k in range(num_w)], classes=names, images=images)
    classes, columns = explorer.fitted(sheet, sheets)
    assert (len(classes), columns) == expected
    assert classes == sorted(set(classes))
    shown = images[:, classes, :columns].size * sheets
    assert shown <= explorer.MAX_BYTES or expected == (1, 1)
