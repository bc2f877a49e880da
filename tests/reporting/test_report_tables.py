"""The tables say what the results say, and compare like with like."""

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from pdpipe.params import dotted
from pdpipe.reporting import provenance, tables
from pdpipe.reporting.measurements import TABLE_COLUMNS, measurements
from pdpipe.reporting.results import read_results

METRICS = [
    "fid",
    "fid_se",
    "is",
    "is_se",
    "accuracy",
    "paired_mse",
    "nearest_median",
    "nearest_close",
]
# All but the times: those are in costs.csv.
KEPT_COLUMNS = [name for name in TABLE_COLUMNS if name != "seconds_per_image"]
STEPS_COLUMNS = ["student", "teacher, same steps", "teacher, equal NFE"]


def read_markdown(text: str) -> dict[str, list[list[str]]]:
    """Each table of a Markdown text by its heading, header row first."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("|") and not line.startswith("| ---"):
            found.setdefault(heading, []).append([c.strip() for c in line.strip("|").split("|")])
    return found


@pytest.fixture(scope="module")
def markdown(full_report: Path) -> str:
    return (full_report / "table.md").read_text(encoding="utf-8")


def table_of(chain, *names):
    m = measurements(read_results(chain.params, chain.results_dir))
    return [getattr(tables, name)(m) if isinstance(name, str) else name(m) for name in names]


def test_csv_holds_every_measurement_once_and_exactly(full_chain, full_report):
    frame = pd.read_csv(full_report / "table.csv")
    assert list(frame.columns) == KEPT_COLUMNS
    e = full_chain.params.evaluation
    places = [("teacher", n, w) for n in sorted(e.teacher_steps)[::-1] for w in sorted(e.w)]
    places += [("student", n, w) for n in full_chain.params.rungs() for w in sorted(e.w)]
    generated = frame[frame.kind != "real"]
    assert [*zip(generated.kind, generated.steps, generated.w, strict=True)] == places
    for kind, n, w in places:
        row = frame[(frame.kind == kind) & (frame.steps == n) & (frame.w == w)]
        assert len(row) == 1
        for metric in METRICS:
            assert row[metric].item() == full_chain.value(metric, kind, n, w)
        assert row["nfe"].item() == (2 * n if kind == "teacher" and w > 0 else n)
        assert row["model"].item() == ("teacher" if kind == "teacher" else f"student-{n}")
    assert set(frame[frame.kind != "real"]["num_fake"]) == {1500}


def test_costs_csv_has_the_times_of_every_cell(full_chain, full_report):
    frame = pd.read_csv(full_report / "costs.csv")
    e = full_chain.params.evaluation
    assert len(frame) == len(e.w) * (len(e.teacher_steps) + len(full_chain.params.rungs()))
    for row in frame.itertuples():
        kind = row.model.partition("-")[0]
        assert row.seconds_per_image == full_chain.value(
            "seconds_per_image", kind, row.steps, row.w
        )


def test_csv_has_the_floor(full_report):
    frame = pd.read_csv(full_report / "table.csv").set_index("model")
    heldout, train = frame.loc["heldout"], frame.loc["train"]
    assert (heldout["fid"], heldout["num_fake"], heldout["num_real"]) == (1.4321, 270, 1527)
    assert (heldout["is"], train["is"]) == (7.5234, 8.0123)


def test_the_table_says_of_each_row_how_it_was_measured(full_chain, full_report):
    frame = pd.read_parquet(full_report / "table.parquet")
    assert list(frame.columns) == KEPT_COLUMNS
    generated = frame[frame.kind != "real"]
    protocol = json.loads((full_chain.results_dir / "metrics/student-1.json").read_text())
    protocol = protocol["protocol"]
    same = ["sampler", "grid", "clip", "seed", "num_fake", "num_real", "real_split", "balance"]
    same += ["quantization", "is_splits", "standard_errors", "device"]
    assert {name: generated[name].unique().tolist() for name in same} == {
        name: [protocol[name]] for name in same
    }
    assert set(frame["extractor_sha256"]) == {protocol["extractor"]["sha256"]}
    assert set(frame["libraries"]) == {"torch 2.13.0, torch-fidelity 0.4.0"}
    assert set(generated["weights"]) == {"ema"}
    assert set(frame[frame.kind == "real"]["balance"]) == {"stratified split"}


def with_interval(chain, metric, kind, n, w):
    half = stats.t(9).ppf(0.975) * chain.value(f"{metric}_se", kind, n, w)
    return f"{chain.value(metric, kind, n, w):.2f} ± {half:.2f}"


@pytest.mark.parametrize("w", [0.0, 0.3, 2.0])
def test_steps_table_holds_the_inputs(full_chain, markdown, w):
    header, *rows = read_markdown(markdown)[f"w = {w:g}"]
    fid = "FID: "

    for cells in rows[:-1]:
        row = dict(zip(header, cells, strict=True))
        n = int(row["steps"])

        def of(metric, kind, n=n):
            return full_chain.value(metric, kind, n, w)

        def interval(metric, kind, n=n):
            return with_interval(full_chain, metric, kind, n, w)

        assert row[fid + "student"] == interval("fid", "student")
        assert row[fid + "teacher, same steps"] == interval("fid", "teacher")
        ratio = of("fid", "student") / of("fid", "teacher")
        errors = [of("fid_se", kind) / of("fid", kind) for kind in ("student", "teacher")]
        half = stats.t(9).ppf(0.975) * ratio * math.hypot(*errors)
        shown, margin = map(float, row[fid + "ratio, same steps"].split(" ± "))
        assert (shown, margin) == pytest.approx((ratio, half), abs=0.005)
        assert row["IS: student"] == interval("is", "student")
        assert row["IS: teacher, same steps"] == interval("is", "teacher")
        paired = float(row["paired error: student"])
        assert paired == pytest.approx(of("paired_mse", "student"), rel=0.05)
        milliseconds = 1000 * of("seconds_per_image", "student")
        assert row["ms/image: student"] == f"{milliseconds:.2f}"
    assert [row[0] for row in rows[:-1]] == ["8", "4", "2", "1"]
    full = dict(zip(header, rows[-1], strict=True))
    assert full["steps"] == ("teacher, 16" if w == 0 else "teacher, 16 × 2")
    assert full[fid + "teacher, same steps"] == with_interval(full_chain, "fid", "teacher", 16, w)


@pytest.mark.parametrize("w", [0.0, 0.3, 2.0])
def test_equal_nfe_takes_the_teacher_that_evaluates_as_often(full_chain, markdown, w):
    header, *rows = read_markdown(markdown)[f"w = {w:g}"]
    column = header.index("FID: teacher, equal NFE")
    for row in rows[:-1]:
        n = int(row[0])
        teacher_steps = n if w == 0 else n // 2  # one evaluation a step, or two
        if teacher_steps == 0:
            assert row[column] == "–"
        else:
            expected = full_chain.value("fid", "teacher", teacher_steps, w)
            assert row[column].split(" ± ")[0] == f"{expected:.2f}"


def test_equal_nfe_is_missing_where_the_teacher_was_not_measured(make_chain):
    chain = make_chain(start=8, ladder=(4,), w=(0.0, 1.0), teacher_steps=(4, 8))
    (m,) = table_of(chain, lambda m: m)
    assert tables.by_steps(m, 0.0)["fid_equal_nfe"].notna().all()
    assert tables.by_steps(m, 1.0)["fid_equal_nfe"].isna().all()
    header, row = tables.steps_table(m, 1.0).columns, tables.steps_table(m, 1.0).rows[0]
    assert row[header.index("ratio, equal NFE")] == "–"


@pytest.mark.parametrize(
    ("title", "kind", "metric"),
    [
        ("Students: FID", "student", "fid"),
        ("Teacher by DDIM: FID", "teacher", "fid"),
        ("Students: IS", "student", "is"),
        ("Teacher by DDIM: IS", "teacher", "is"),
    ],
)
def test_matrices_are_n_by_w(full_chain, markdown, title, kind, metric):
    header, *rows = read_markdown(markdown)[title]
    assert header == ["steps", "w = 0", "w = 0.3", "w = 2"]
    if kind == "student":
        *rows, full = rows
        assert full[0] == "teacher, 16"
        assert full[1:] == [
            with_interval(full_chain, metric, "teacher", 16, w) for w in full_chain.w
        ]
    assert len(rows) == (4 if kind == "student" else 5)
    for n, *cells in rows:
        assert cells == [with_interval(full_chain, metric, kind, int(n), w) for w in full_chain.w]


def test_the_figures_are_defined_once_with_count_and_extractor(markdown):
    assert markdown.count("FID is FID-1500[digits-cnn] here: ") == 1
    assert markdown.count("FID-270[digits-cnn] 1.43 ± ") == 1  # the floor, with its interval
    assert markdown.count("[digits-cnn]") == 2


def test_the_floor_stands_beside_figures_of_its_own_count_alone(markdown):
    sections = re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]
    beside = [s.partition("\n")[0] for s in sections if "Held-out real images: 1.43" in s]
    kinds = ("Students", "Teacher by DDIM")
    assert beside == [f"{kind}: FID at the held-out count" for kind in kinds]


def test_memorization_stands_beside_held_out_images(full_chain, markdown):
    _, *rows = read_markdown(markdown)["Nearest training image"]
    median = full_chain.value("nearest_median", "student", 4, 0.3)
    close = full_chain.value("nearest_close", "student", 4, 0.3)
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["4 steps"][1] == f"{median:.2f} · {100 * close:.1f} %"
    assert by_name["held-out real images"] == ["2.06 · 1.1 %"] * 3


def test_accuracy_is_left_out_where_no_labels_are_taken(make_chain):
    chain = make_chain(w=(0.0,), classes=("all",), conditional=False)
    (with_labels,) = table_of(chain, "matrices")
    for name in ("teacher", "student-4", "student-1"):
        chain.edit(f"metrics/{name}.json", lambda r: [c.update(accuracy=None) for c in r["cells"]])
    (without,) = table_of(chain, "matrices")
    assert [t.title for t in with_labels if "accuracy" in t.title] != []
    assert [t.title for t in without if "accuracy" in t.title] == []


def test_curves_for_dvc_are_complete(full_chain, full_report):
    points = pd.read_csv(full_report / "fid_by_steps.csv")
    assert not points.isna().any().any()
    assert len(points) == (4 + 5) * 3
    row = points[(points.kind == "student") & (points.steps == 4) & (points.w == 0.3)]
    assert row["fid"].item() == full_chain.value("fid", "student", 4, 0.3)
    assert "floor" not in points  # of fewer images: it does not compare
    assert set(points["figure"]) == {"FID-1500[digits-cnn]"}


def test_metrics_json_is_few_and_flat_enough_for_dvc(full_chain, full_report):
    summary = json.loads((full_report / "metrics.json").read_text())
    fids = {f"fid_{n}": full_chain.value("fid", "student", n, 0.3) for n in (1, 2, 4, 8)}
    fids |= {"fid_teacher": full_chain.value("fid", "teacher", 16, 0.3)}
    saved = {"saved": 32.0, "saved_near": 32.0}
    assert summary == fids | saved | {"w": 0.3, "figure": "FID-1500[digits-cnn]"}


def test_metrics_json_leaves_room_for_the_setting_that_was_changed(full_report, raw):
    """In `dvc exp show --only-changed`, where every figure changed, on 160 columns.

    DVC puts the metrics before the settings, and drops from the right what does not fit.
    """
    summary = json.loads((full_report / "metrics.json").read_text())
    between, figure, experiment, created = 3, 7, len("  └── 631e8cc [urban-whey]"), 8
    widths = [max(len(name), figure) for name in {*summary} - {"figure"}]
    widths += [experiment, created, max(len(key) for key in dotted(raw))]
    assert sum(width + between for width in widths) <= 160


def test_costs_add_up_and_name_their_machines(make_chain):
    chain = make_chain()
    other = {"device": "cuda", "name": "Test GPU", "threads": 8, "torch": "2.13.0"}
    chain.edit("cost/student-1.json", lambda cost: cost["machine"].update(other))
    results = read_results(chain.params, chain.results_dir)
    training = provenance.training_table(results)
    stages = [row[0] for row in training.rows]
    assert stages == ["extractor", "teacher", "student-8", "student-4", "student-1", "all"]
    updates = [int(row[1].replace(",", "")) for row in training.rows]
    assert updates[-1] == sum(updates[:-1]) == 100 + 101 + 102 + 103 + 104
    seconds = [float(row[4]) for row in training.rows]
    assert seconds[-1] == sum(seconds[:-1])
    assert [row[5] for row in training.rows] == ["A", "A", "A", "A", "B", ""]
    machines = provenance.machines_table(results)
    assert [row[:2] for row in machines.rows] == [["A", "Test CPU"], ["B", "Test GPU"]]
    evaluation = provenance.evaluation_table(results)
    # 1,500 images a cell; w of 0 and 0.3, at which the teacher takes two evaluations a step
    assert evaluation.rows[0][:4] == ["evaluate-teacher", "6", "9,000", "58,500"]
    assert evaluation.rows[-1][:5] == ["all", "10", "15,000", "73,500", "37.5"]
    other = provenance.other_costs_table(results)
    assert other.rows[0] == ["prepare", "10", "0", "2.5", "A"]
    assert [row[0] for row in other.rows] == ["prepare", "reference", "rungs"]
    whole = seconds[-1] + 37.5 + (2.5 + 3.5 + 4.5)
    assert f"With training and evaluation: {whole:.1f} s" in other.note
