"""Sample grids put the right pixels in the right place; files are whole and reproducible."""

import base64
import io
import os
import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from pdpipe.reporting import grids
from pdpipe.reporting.sheets import spread

CURVES = (
    *("fid_by_steps", "fid_by_w", "fid_is", "is_by_steps"),
    *("samples_by_steps", "samples_by_class"),
)
METHOD = ("angles", "trajectories", "loss_weights")
NAMES = {
    *(
        "costs.csv",
        "table.csv",
        "table.parquet",
        "table.md",
        "table.tex",
        "metrics.json",
        "fid_by_steps.csv",
        "index.html",
    ),
    *(f"figures/{name}.{kind}" for name in (*CURVES, *METHOD) for kind in ("svg", "png")),
}


def files_of(folder: Path) -> set[str]:
    """The files below a folder, by their paths from it on."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def read_png(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


def decode(address: str) -> np.ndarray:
    content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def page_blocks(report: Path) -> dict[str, np.ndarray]:
    """The page's sample blocks by their descriptions."""
    html = (report / "index.html").read_text(encoding="utf-8")
    found = re.findall(r'<img src="([^"]*)"[^>]*alt="([^":]*):', html)
    return {alt: decode(address) for address, alt in found}


def tiles(block: np.ndarray, side: int, factor: int) -> list[np.ndarray]:
    """The images of a block, row by row, shrunk to (side, side, 3); fully opaque ones only."""
    stride = side * factor + grids.GAP
    found = []
    for top in range(0, block.shape[0], stride):
        for left in range(0, block.shape[1], stride):
            tile = block[top : top + side * factor, left : left + side * factor]
            if (tile[..., 3] == 255).all():
                enlarged = np.kron(tile[::factor, ::factor], np.ones((factor, factor, 1), np.uint8))
                assert (tile == enlarged).all()
                found.append(tile[::factor, ::factor, :3])
    return found


def rgb(image: np.ndarray) -> np.ndarray:
    return np.stack([image[c % len(image)] for c in range(3)], axis=-1)


def check_tiles(block, images, side, factor):
    shown = tiles(block, side, factor)
    assert len(shown) == len(images)
    for tile, image in zip(shown, images, strict=True):
        assert (tile == rgb(image)).all()


def place_of(part: np.ndarray, whole: np.ndarray) -> tuple[int, int]:
    """(top, left) of the only place where the pixels of `part` are in `whole`."""
    width = part.shape[1]
    windows = np.lib.stride_tricks.sliding_window_view(whole, width, axis=1)
    hits = np.argwhere((windows == part[0].T).all(axis=(2, 3))).tolist()
    ((top, left),) = (
        (top, left)
        for top, left in hits
        if np.array_equal(whole[top : top + len(part), left : left + width], part)
    )
    return top, left


def test_page_shows_each_sample_in_its_cell(full_chain, full_report):
    blocks = page_blocks(full_report)
    for column, w in enumerate(full_chain.w):
        for kind, n in [("teacher", 16), ("student", 8), ("student", 1), ("teacher", 1)]:
            steps = "1 step" if n == 1 else f"{n} steps"
            block = blocks[f"Steps and guidance, {kind}, {steps}, w = {w:g}"]
            check_tiles(block, full_chain.sheet(kind, n)[column, :, 0], 8, 4)
    at = full_chain.w.index(0.3)
    for k, name in enumerate(full_chain.classes):
        block = blocks[f"Classes at w = 0.3, student, 2 steps, {name}"]
        check_tiles(block, full_chain.sheet("student", 2)[at, k, :4], 8, 4)


def test_png_holds_the_samples_pixel_by_pixel_in_order(full_chain, full_report):
    picture = read_png(full_report / "figures/samples_by_steps.png", "RGB")

    def tile(kind, n, column, k):
        image = full_chain.sheet(kind, n)[column, k, 0]
        return rgb(image).repeat(4, axis=0).repeat(4, axis=1)

    rows = [("teacher", 16), ("student", 8), ("teacher", 8), ("student", 1), ("teacher", 1)]
    places = [place_of(tile(*row, 0, 0), picture) for row in rows]
    assert len({left for _, left in places}) == 1
    tops = [top for top, _ in places]
    assert tops == sorted(set(tops))
    across = [place_of(tile("student", 1, column, 0), picture) for column in range(3)]
    assert len({top for top, _ in across}) == 1
    lefts = [left for _, left in across]
    assert lefts == sorted(set(lefts))
    stride = 8 * 4 + grids.GAP
    top, left = across[0]
    assert place_of(tile("student", 1, 0, 9), picture) == (top + stride, left + 4 * stride)


def test_svg_holds_the_same_pixels_as_the_png(full_report):
    tree = ET.parse(full_report / "figures/samples_by_class.svg")
    images = [e for e in tree.iter() if e.tag.endswith("}image")]
    pixels = 0
    picture = read_png(full_report / "figures/samples_by_class.png", "RGBA")
    for image in images:
        (address,) = [value for key, value in image.attrib.items() if key.endswith("href")]
        part = decode(address.replace("\n", ""))
        pixels += int((part[..., 3] == 255).sum())
        drawn = part[part[..., 3] == 255]
        assert np.isin(drawn.view(np.uint32), np.ascontiguousarray(picture).view(np.uint32)).all()
    assert pixels == 5 * 10 * 4 * 32 * 32


def test_colour_is_kept(make_chain, tmp_path):
    chain = make_chain(w=(0.0, 1.0), channels=3, image_size=16)
    chain.report(tmp_path)
    block = page_blocks(tmp_path)["Classes at w = 1, student, 1 step, two"]
    check_tiles(block, chain.sheet("student", 1)[1, 2, :4], 16, 2)


@pytest.mark.parametrize(("side", "factor"), [(8, 4), (28, 2), (31, 2), (32, 1), (64, 1), (5, 7)])
def test_small_images_are_enlarged_by_whole_pixels(side, factor):
    images = np.random.default_rng(0).integers(0, 256, (3, 1, side, side), dtype=np.uint8)
    block = grids.block(images, 2)
    assert block.shape == (2 * side * factor + grids.GAP, 2 * side * factor + grids.GAP, 4)
    check_tiles(block, images, side, factor)


@pytest.mark.parametrize(
    ("total", "expected"),
    [(1, [0]), (10, list(range(10))), (19, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18])],
)
def test_classes_are_spread_evenly(total, expected):
    assert spread(total, 10) == expected
    assert len(set(spread(1000, 10))) == 10


def test_many_classes_are_cut_to_ten(make_chain, tmp_path):
    chain = make_chain(w=(0.0,), classes=[f"class {k:02}" for k in range(19)])
    chain.report(tmp_path)
    blocks = page_blocks(tmp_path)
    shown = [alt.split(", ")[-1] for alt in blocks if alt.startswith("Classes at w = 0, teacher")]
    assert shown == [f"class {k:02}" for k in range(0, 19, 2)]
    block = blocks["Classes at w = 0, student, 4 steps, class 18"]
    check_tiles(block, chain.sheet("student", 4)[0, 18, :4], 8, 4)


@pytest.mark.parametrize(
    "options",
    [
        {"start": 4, "ladder": (2, 1), "w": (0.5,)},
        {"w": (0.3, 2.0)},
        {"w": (0.0,), "classes": ("all",), "conditional": False},
        {"ladder": (), "w": (0.0, 1.0)},
    ],
    ids=["two rungs, one w", "no w = 0", "unconditional", "no rungs"],
)
def test_other_chains_have_a_whole_report(make_chain, tmp_path, options):
    chain = make_chain(**options)
    chain.report(tmp_path)
    assert files_of(tmp_path) == NAMES
    for path in tmp_path.glob("figures/*.png"):
        assert read_png(path, "L").std() > 0
    for path in tmp_path.glob("figures/*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    rows = {alt.rsplit(", w = ")[0] for alt in page_blocks(tmp_path) if "guidance" in alt}
    assert len(rows) == 1 + 2 * len(chain.params.rungs())


def test_figures_carry_no_date_and_no_version(full_report):
    for path in full_report.glob("figures/*.svg"):
        text = path.read_text()
        assert "<dc:date>" not in text
        assert mpl.__version__ not in text
    for path in full_report.glob("figures/*.png"):
        with Image.open(path) as image:
            assert image.info.keys() <= {"dpi"}


def test_a_second_run_elsewhere_gives_the_same_bytes(full_chain, full_report, tmp_path):
    """In a new process with other hashes, over an old report, with the user's own plot style."""
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\nfont.size: 30\n")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "table.md").write_text("old")
    code = (
        "import sys, pickle; from pathlib import Path; from pdpipe.reporting import write_report; "
        "params = pickle.load(sys.stdin.buffer); "
        "write_report(params, Path(sys.argv[1]), Path('reports'), Path('none')); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(full_chain.results_dir)],
        input=pickle.dumps(full_chain.params),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["False"]
    assert files_of(full_report) == NAMES
    for name in NAMES:
        assert (tmp_path / "reports" / name).read_bytes() == (full_report / name).read_bytes(), name


def test_matplotlib_is_left_as_it_was(make_chain, tmp_path):
    with mpl.rc_context({"font.size": 31.0}):
        before = dict(mpl.rcParams)
        make_chain(w=(0.0,)).report(tmp_path)
        assert dict(mpl.rcParams) == before
