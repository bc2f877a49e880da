"""The report reads the ladder's own files, all of them or none, and says what is wrong."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pdpipe.errors import EvaluationError

FILES = [
    "metrics/floor.json",
    "metrics/teacher.json",
    "metrics/student-4.json",
    "cost/extractor.json",
    "cost/student-8.json",
    "cost/evaluate-teacher.json",
    "cost/evaluate-student-1.json",
    "cost/prepare.json",
    "samples/teacher.safetensors",
    "samples/student-1.safetensors",
]


@pytest.fixture
def chain(make_chain):
    return make_chain()


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def check_refused(chain, tmp_path, *texts):
    """The report stops with one sentence that holds `texts`, and writes nothing."""
    with pytest.raises(EvaluationError) as caught:
        chain.report(tmp_path / "reports")
    message = str(caught.value)
    assert "\n" not in message
    for text in (*texts, "dvc repro"):
        assert text in message
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(chain, tmp_path, name):
    (chain.results_dir / name).unlink()
    check_refused(chain, tmp_path, str(chain.results_dir / name), "does not exist")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_named(chain, tmp_path, name):
    path = chain.results_dir / name
    path.write_bytes(path.read_bytes()[:-20])
    check_refused(chain, tmp_path, str(path), "damaged")


def drop_cell(record):
    del record["cells"][0]


def set_protocol(key, value):
    return lambda record: record["protocol"].update({key: value})


def set_extractor(record):
    record["protocol"]["extractor"]["sha256"] = "ef" * 32


@pytest.mark.parametrize(
    ("name", "change", "texts"),
    [
        ("metrics/student-4.json", drop_cell, ["no cell for 4 steps at w = 0,"]),
        ("metrics/teacher.json", drop_cell, ["no cell for 1 step at w = 0,"]),
        ("metrics/student-4.json", lambda r: r["cells"][1].pop("fid"), ["damaged", "fid"]),
        ("metrics/student-4.json", lambda r: r["cells"][1].update(fid="1"), ["damaged", "fid"]),
        (
            "metrics/student-4.json",
            lambda r: r["model"].update(name="student-2"),
            ["figures of student-2, not of student-4"],
        ),
        ("metrics/student-4.json", set_protocol("num_fake", 900), ["num_fake 900", "1500"]),
        ("metrics/student-1.json", set_protocol("seed", 7), ["seed 7"]),
        ("metrics/student-4.json", set_extractor, ["efefefef", "abababab"]),
        ("metrics/floor.json", set_extractor, ["efefefef", "abababab"]),
    ],
)
def test_wrong_contents_are_named(chain, tmp_path, name, change, texts):
    chain.edit(name, change)
    check_refused(chain, tmp_path, str(chain.results_dir / name), *texts)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda sheet: {}, "no sheet for 4 steps"),
        (lambda sheet: {"sheet/4": sheet.astype(np.float32)}, "uint8"),
        (lambda sheet: {"sheet/4": sheet[:, :2]}, "but holds"),
        (lambda sheet: {"sheet/4": sheet[..., :4, :4]}, "other classes or shapes"),
    ],
)
def test_a_wrong_sheet_is_named(chain, tmp_path, change, text):
    path = chain.results_dir / "samples/student-4.safetensors"
    info = {"w": chain.w, "classes": chain.classes, "per_class": 8}
    sheet = load_file(path)["sheet/4"]
    changed = {key: np.ascontiguousarray(value) for key, value in change(sheet).items()}
    save_file(changed, path, metadata={"sheet": json.dumps(info)})
    check_refused(chain, tmp_path, str(path), text)


def test_a_sheet_without_a_w_of_the_params_is_named(chain, tmp_path):
    path = chain.results_dir / "samples/student-4.safetensors"
    info = {"w": [0.0, 9.0], "classes": chain.classes, "per_class": 8}
    save_file(load_file(path), path, metadata={"sheet": json.dumps(info)})
    check_refused(chain, tmp_path, str(path), "no samples at w = 0.3")


def test_a_sheet_without_metadata_is_damaged(chain, tmp_path):
    path = chain.results_dir / "samples/student-4.safetensors"
    save_file(load_file(path), path)
    check_refused(chain, tmp_path, str(path), "damaged")


def test_what_params_do_not_ask_for_changes_nothing(chain, make_chain, tmp_path):
    """Rungs of an older ladder, whole or damaged, and cells of an older evaluation."""
    chain.report(tmp_path / "before")
    older = make_chain(start=8, ladder=(4, 2, 1))
    for name in ("metrics/student-2.json", "cost/student-2.json", "samples/student-2.safetensors"):
        (chain.results_dir / name).write_bytes((older.results_dir / name).read_bytes())
    (chain.results_dir / "metrics/student-16.json").write_text("half of a rec")
    for name in ("metrics/student-1.json", "metrics/teacher.json"):
        cell = {"steps": 2, "w": 3.5, "fid": 1000.0}
        chain.edit(name, lambda r, cell=cell: r["cells"].append(r["cells"][0] | cell))
    chain.report(tmp_path / "after")
    assert contents(tmp_path / "after") == contents(tmp_path / "before")
    assert "student-2" not in (tmp_path / "after" / "table.csv").read_text()
