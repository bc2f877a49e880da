"""What two reports, side by side, are said to differ in; tables made of Gaussians."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from pdpipe.errors import EvaluationError, ParamsError
from pdpipe.reporting.compare import (
    BETTER,
    NO_ERROR,
    NOT_COMPARABLE,
    NOT_SEPARATED,
    WORSE,
    Comparison,
    compare,
)
from pdpipe.reporting.compare_text import (
    MEASURE_ALIKE,
    REMEDIES,
    csv_text,
    markdown,
    plain_text,
    signed,
    summary,
)
from pdpipe.reporting.intervals import difference_margin, margin
from pdpipe.reporting.sides import TABLE, Side, read_rows, read_side

if TYPE_CHECKING:
    from conftest import Chain

CHANCE = 0.05
COLUMNS = ["model", "kind", "steps", "w", "fid", "fid_se", "is", "is_se"]


def table(rows: list[list[Any]], columns: list[str] = COLUMNS) -> str:
    """A report's table with these rows."""
    out = io.StringIO()
    csv.writer(out).writerows([columns, *rows])
    return out.getvalue()


def side(text: str, name: str = "A", **files: str) -> Side:
    """A side made of a table, and of `params` and the `metrics` of student-1."""
    places = {"params": "params.yaml", "metrics": "results/metrics/student-1.json"}
    known = {Path(places[kind]): content for kind, content in files.items()}
    return read_side(name, {TABLE: text, **known}.get)


def measured(rng: np.random.Generator, true: np.ndarray, se: float, noise: np.ndarray) -> Side:
    """Cells with Gaussian errors, and standard errors with 9 degrees of freedom, as ours have."""
    errors = se * np.sqrt(rng.chisquare(9, (len(true), 2)) / 9)
    values = true[:, None] + se * noise
    rows = [
        [f"student-{k}", "student", 4, 1.0, values[k, 0], errors[k, 0], values[k, 1], errors[k, 1]]
        for k in range(len(true))
    ]
    return side(table(rows))


def shares(c: Comparison) -> dict[str, float]:
    verdicts = [change.verdict for change in c.changes]
    return {verdict: verdicts.count(verdict) / len(verdicts) for verdict in set(verdicts)}


def test_where_nothing_differs_about_one_in_twenty_is_separated_or_fewer() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(5.0, 9.0, 3000)
    a, b = (measured(rng, true, 0.05, rng.standard_normal((3000, 2))) for _ in range(2))
    found = shares(compare(a, b))
    assert 0.5 * CHANCE < 1 - found[NOT_SEPARATED] <= CHANCE
    assert abs(found[BETTER] - found[WORSE]) < 0.015


def test_with_shared_noise_it_is_fewer_still() -> None:
    rng = np.random.default_rng(1)
    true, shared = rng.uniform(5.0, 9.0, 3000), rng.standard_normal((3000, 2))
    noises = [0.9 * shared + math.sqrt(1 - 0.81) * rng.standard_normal((3000, 2)) for _ in "ab"]
    a, b = (measured(rng, true, 0.05, noise) for noise in noises)
    assert shares(compare(a, b))[NOT_SEPARATED] > 0.995


@pytest.mark.parametrize("sign", [1, -1])
def test_a_real_difference_is_separated_and_has_its_direction(sign: int) -> None:
    rng = np.random.default_rng(2)
    true = rng.uniform(5.0, 9.0, 1000)
    a = measured(rng, true, 0.05, rng.standard_normal((1000, 2)))
    b = measured(rng, true + sign * 0.5, 0.05, rng.standard_normal((1000, 2)))
    c = compare(a, b)
    for metric, verdict in (("fid", WORSE if sign > 0 else BETTER), ("is", BETTER)):
        expected = verdict if metric == "fid" or sign > 0 else WORSE
        assert len(c.of(metric, expected)) / len(c.of(metric)) > 0.99


def test_the_differences_interval() -> None:
    assert difference_margin(0.03, 0.04) == pytest.approx(0.05)
    assert math.isnan(difference_margin(0.03, math.nan))


@pytest.mark.parametrize(
    ("difference", "half", "shown"),
    [
        (0.4, 0.1, "+0.40 ± 0.10"),
        (-0.004, 0.0123, "-0.004 ± 0.012"),
        (0.0, 0.05, "+0.000 ± 0.050"),
        (12.3, 0.0, "+12"),
        (0.0712, math.nan, "+0.071"),
        (math.nan, math.nan, "–"),
    ],
)
def test_a_difference_as_it_is_shown(difference: float, half: float, shown: str) -> None:
    assert signed(difference, half) == shown


def test_a_mean_over_seeds_has_the_interval_of_its_degrees_of_freedom() -> None:
    columns = [*COLUMNS, "se_dof"]
    a = side(table([ROW]))  # of an earlier version: a jackknife's
    (found, _) = compare(a, side(table([[*ROW, 2]], columns))).changes
    assert found.a_margin == pytest.approx(margin(0.01, 9))
    assert found.b_margin == pytest.approx(margin(0.01, 2))
    assert found.margin == pytest.approx(math.hypot(margin(0.01, 9), margin(0.01, 2)))
    for damaged in (0, "many"):
        with pytest.raises(EvaluationError, match=r"table.csv of A is damaged .*student-1"):
            side(table([[*ROW, damaged]], columns))


ROW = ["student-1", "student", 1, 0.3, 1.5, 0.01, 8.0, 0.01]


def test_cells_of_one_side_and_cells_without_an_error() -> None:
    bare = [*ROW[:5], "", 8.0, ""]
    b = table([["student-1", "student", 1, 0.0, 1.4, 0.01, 8.0, 0.01], bare])
    c = compare(side(table([ROW, ["teacher", "teacher", 8, 0.0, 2, 0.1, 7, 0.1]])), side(b))
    fid = {(change.model, change.w): change for change in c.of("fid")}
    assert fid["teacher", 0.0].verdict == "only in A"
    assert fid["student-1", 0.0].verdict == "only in B"
    assert fid["student-1", 0.3].verdict == NOT_SEPARATED  # it is the very same figure
    assert "1 cell in common: every figure is the same" in summary(c)
    moved = compare(side(table([ROW])), side(table([[*ROW[:4], 1.6, "", 8.0, 0.01]])))
    assert [change.verdict for change in moved.changes] == [NO_ERROR, NOT_SEPARATED]
    assert "FID better in 0, worse in 0, not separated in 0, without a standard error in 1" in (
        summary(moved)
    )


def test_the_sentence_names_the_biggest_change() -> None:
    rows = [[f"student-{n}", "student", n, 1.0, 2.0, 0.01, 8.0, 0.01] for n in (1, 2, 4)]
    after = [[*row[:4], fid, *row[5:]] for row, fid in zip(rows, (2.0, 1.0, 2.5), strict=True)]
    c = compare(side(table(rows)), side(table(after)))
    assert summary(c) == (
        "3 cells in common: FID better in 1, worse in 1, not separated in 1; IS better in 0, worse "
        "in 0, not separated in 3; the biggest change is that of student-2 at 2 steps, w = 1: "
        "FID 2.00 → 1.00 (-50 %)"
    )


@pytest.mark.parametrize(("se", "said"), [(0.01, ""), (0.03, ", not separated from 1 more,")])
def test_no_change_is_the_biggest_that_the_intervals_do_not_separate(se: float, said: str) -> None:
    """Log ratios 0.69 and 0.60, with margins of about 2.26 · se for each of four figures."""
    rows = [[f"student-{n}", "student", n, 1.0, 2.0, se, 8.0, 0.01] for n in (1, 2, 4)]
    after = [[*row[:4], fid, *row[5:]] for row, fid in zip(rows, (2.9, 1.0, 1.1), strict=True)]
    sentence = summary(compare(side(table(rows)), side(table(after))))
    assert f"; the biggest change{said} is that of student-2 at 2 steps" in sentence


# How the figures were made.

PROTOCOL = {
    "extractor": {"name": "digits-cnn", "sha256": "ab" * 32},
    "num_fake": 1500,
    "seed": 1,
    "clip": True,
    "sampler": "ddim",
    "device": "cpu",
}


def of_protocol(fid: float = 1.5, **changes: Any) -> Side:
    """One cell, with a metrics file beside the table."""
    cells = [{"steps": 1, "w": 0.3, "fid": fid}]
    record = json.dumps({"protocol": PROTOCOL | changes, "cells": cells})
    return side(table([[*ROW[:4], fid, *ROW[5:]]]), metrics=record)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"num_fake": 3000}, "num_fake"),
        ({"seed": 2}, "seed"),
        ({"clip": False}, "clip"),
        ({"extractor": {"name": "digits-cnn", "sha256": "cd" * 32}}, "extractor.sha256"),
    ],
)
def test_figures_measured_in_another_way_are_never_separated(
    change: dict[str, Any], field: str
) -> None:
    c = compare(of_protocol(), of_protocol(fid=99.0, **change))
    assert {one.verdict for one in c.changes} == {NOT_COMPARABLE}
    assert all(math.isnan(one.difference) for one in c.changes)
    remedy = REMEDIES["extractor"] if "extractor" in field else MEASURE_ALIKE
    assert summary(c) == (
        f"The figures of the two chains are not comparable, since they differ in protocol.{field} "
        f"({remedy})"
    )
    text = plain_text(c)
    assert f"protocol.{field}: " in text
    assert "2 figures that do not compare are not listed; --csv writes them." in text
    assert "student-1  " not in text  # folded
    assert "±" not in text  # nothing was compared, so no interval is explained
    assert csv_text(c).count("not comparable") == 2


def test_another_sampler_or_machine_does_not_stand_in_the_way() -> None:
    c = compare(of_protocol(), of_protocol(fid=9.0, sampler="heun", device="cuda"))
    assert [one.verdict for one in c.of("fid")] == [WORSE]
    assert "sampler: ddim → heun (student-1)" in plain_text(c)
    assert not c.protocol


def test_only_the_models_measured_in_another_way_drop_out() -> None:
    other = ["student-2", "student", 2, 0.3, 1.5, 0.01, 8.0, 0.01]
    columns = [*COLUMNS, "num_fake"]
    a = side(table([[*ROW, 1500], [*other, 1500]], columns))
    b = side(table([[*ROW, 1500], [*other, 3000]], columns))
    assert summary(compare(a, b)) == (
        "The figures of student-2 are not comparable, since they differ in protocol.num_fake "
        f"({MEASURE_ALIKE}); the other 1 cell: every figure is the same"
    )


def test_a_bare_table_is_said_to_be_one() -> None:
    text = plain_text(compare(side(table([ROW])), of_protocol()))
    assert "not known: a side is a table without its project" in text
    assert "Of A, the protocol is known as far as the table has it" in " ".join(text.split())
    assert "Of B, the protocol" not in text


def test_the_figure_precision_is_no_field_of_the_protocol() -> None:
    columns = [*COLUMNS, "precision", "precision_of_networks"]
    a, b = (side(table([[*ROW, figure, "float32"]], columns)) for figure in (0.6, 0.7))
    assert not compare(a, b).protocol
    other = side(table([[*ROW, 0.6, "bfloat16"]], columns))
    assert [edit.key for edit in compare(a, other).protocol] == ["precision"]


def test_a_reports_table_alone_says_how_it_was_measured(full_report: Path) -> None:
    text = (full_report / "table.csv").read_text()
    c = compare(side(text), side(text.replace("ab" * 32, "ba" * 32)))
    assert {edit.key for edit in c.protocol} == {"extractor.sha256"}
    assert "was not compared" not in " ".join(plain_text(c).split())
    for old, new in (("train,equal counts", "all,equal counts"), ("equal counts", "random counts")):
        (edit,) = compare(side(text), side(text.replace(old, new))).protocol
        assert edit.key in ("real_split", "balance")


# Settings.


def test_settings_by_their_dotted_names_and_no_runtime() -> None:
    old = "seed: 0\nladder: {'2': {from: '4', updates: 10}}\nruntime: {device: cpu}\n"
    new = "seed: 0\nladder: {'2': {from: '4', updates: 20}}\nw: [0.0, 1.0]\nruntime: {device: x}\n"
    c = compare(side(table([ROW]), params=old), side(table([ROW]), params=new))
    assert c.settings is not None
    assert [edit.key for edit in c.settings] == ["ladder.2.updates", "w"]
    for text in (plain_text(c), markdown(c)):
        assert "ladder.2.updates: 10 → 20\n" in text
        assert "w: none → [0.0, 1.0]\n" in text


def test_no_setting_differs() -> None:
    c = compare(side(table([ROW]), params="seed: 0"), side(table([ROW]), params="seed: 0"))
    assert "none (section runtime aside)" in plain_text(c)


# Whole reports.


@pytest.fixture(scope="module")
def reported(full_chain: Chain, full_report: Path) -> Callable[[Path], str | None]:
    """Reads the files of a project with a report."""
    files = {TABLE: full_report / "table.csv"}
    files |= {
        Path("results/metrics") / path.name: path
        for path in (full_chain.results_dir / "metrics").glob("*.json")
    }
    texts = {path: file.read_text() for path, file in files.items()}
    settings = full_chain.params.model_dump(mode="json", by_alias=True)
    return {**texts, Path("params.yaml"): yaml.safe_dump(settings)}.get


def test_a_report_against_itself(reported: Callable[[Path], str | None], full_chain: Chain) -> None:
    c = compare(read_side("A", reported), read_side("B", reported))
    e = full_chain.params.evaluation
    cells = (len(e.teacher_steps) + len(full_chain.params.ladder)) * len(e.w)
    assert len(c.of("fid")) == len(c.of("is")) == cells
    assert summary(c) == f"{cells} cells in common: every figure is the same"
    assert not c.protocol
    assert "FID-1500[digits-cnn], lower is better\n" in plain_text(c)


def test_every_change_as_csv_and_in_both_texts(reported: Callable[[Path], str | None]) -> None:
    c = compare(read_side("A", reported), read_side("B", reported))
    rows = list(csv.DictReader(io.StringIO(csv_text(c))))
    assert len(rows) == len(c.changes)
    for row, change in zip(rows, c.changes, strict=True):
        assert row["model"] == change.model
        assert float(row["a"]) == pytest.approx(change.a)
        assert float(row["margin"]) == pytest.approx(change.margin, rel=1e-5)
        assert row["verdict"] == NOT_SEPARATED
    for text in (plain_text(c), markdown(c)):
        assert text.count("not separated") >= len(c.changes)


# Bad input.


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no column 'model', so it is no report's table"),
        ("a,b\n1,2\n", "has no column 'model'"),
        (table([ROW])[:-12], r"is damaged \(line 2 has \d fields, not 8\)"),
        (table([[*ROW[:4], "x", *ROW[5:]]]), "is damaged .*'x', in a row of student-1"),
        (table([[*ROW[:4], "nan", *ROW[5:]]]), "is damaged .*a figure is nan"),
        (table([[*ROW[:4], "", *ROW[5:]]]), "is damaged .*in a row of student-1"),
        (table([ROW, ROW]), "has two rows for student-1 at 1 step, w = 0.3"),
        (table([["heldout", "real", *["", "", 0.8, "", 7, ""]]]), "has no row of generated images"),
    ],
)
def test_a_table_that_is_none_or_damaged(text: str, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=rf"^reports/table.csv of A {sentence}"):
        side(text)


def test_tables_without_errors_are_those_of_early_versions() -> None:
    (row,) = read_rows(table([ROW[:5] + ROW[6:7]], [*COLUMNS[:5], "is"]), "the table")
    assert row["fid"] == "1.5"


@pytest.mark.parametrize("text", ["{", "[]", '{"protocol": {}, "cells": [{"w": 1}]}', "3"])
def test_metrics_that_are_damaged(text: str) -> None:
    with pytest.raises(EvaluationError, match=r"^results/metrics/student-1.json of A is damaged"):
        side(table([ROW]), metrics=text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fid": 1.6}, r"has FID 1.6 where reports/table.csv has 1.5 "),
        ({"is": 8.1}, r"has IS 8.1 where reports/table.csv has 8.0 "),
        ({"fid_se": 0.2}, r"has FID_SE 0.2 where reports/table.csv has 0.01 "),
        ({"is_se": 0.2}, r"has IS_SE 0.2 where reports/table.csv has 0.02 "),
        ({"w": 4.3}, r"lacks a cell that reports/table.csv has "),
    ],
)
def test_metrics_that_are_not_those_of_the_table(change: dict[str, float], said: str) -> None:
    """A table has no digest: each of its figures is that of the metrics file, or it is damaged."""
    cell = {"steps": 1, "w": 0.3, "fid": 1.5, "fid_se": 0.01, "is": 8.0, "is_se": 0.02}
    row = ["student-1", "student", 1, 0.3, 1.5, 0.01, 8.0, 0.02]
    for changes in ({}, change):
        record = json.dumps({"protocol": PROTOCOL, "cells": [cell | changes]})
        if not changes:
            assert side(table([row]), metrics=record).whole
            continue
        with pytest.raises(EvaluationError, match=said + r"\(student-1, 1 step, w = 0.3\): run"):
            side(table([row]), metrics=record)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "seed: 0\nseed: 1\n"])
def test_params_that_are_not_settings(text: str) -> None:
    with pytest.raises(ParamsError, match=r"^params.yaml of A "):
        side(table([ROW]), params=text)


def test_no_report() -> None:
    with pytest.raises(EvaluationError, match=r"^A has no reports/table.csv"):
        read_side("A", {}.get)
