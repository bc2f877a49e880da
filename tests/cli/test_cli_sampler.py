"""`evaluation.teacher_sampler`: the teacher measured by another sampler than DDIM."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Typed


def metrics(typed: Typed, name: str) -> dict[str, Any]:
    return json.loads((typed.root / f"results/metrics/{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("sampler", "called", "nfe"),
    [
        ("heun", "Heun's method", {1: 1, 2: 3, 4: 7}),  # clipped: the last interval takes one
        ("dpm_solver", "DPM-Solver++(2M)", {1: 1, 2: 2, 4: 4}),
        ("ancestral", "ancestral sampling", {1: 1, 2: 2, 4: 4}),
    ],
)
def test_the_teachers_sampler_is_a_word_in_params(
    typed: Typed, sampler: str, called: str, nfe: dict[int, int]
) -> None:
    params, before = typed.params(), metrics(typed, "teacher")
    assert before["protocol"]["sampler"] == "ddim"
    params["evaluation"]["teacher_sampler"] = sampler
    typed.write(params)
    assert typed.run("evaluate-teacher").code == 0
    found = metrics(typed, "teacher")
    assert found["protocol"]["sampler"] == sampler
    for cell in found["cells"]:
        assert cell["nfe"] == nfe[cell["steps"]] * (1 if cell["w"] == 0 else 2)
    assert [c["fid"] for c in found["cells"]] != [c["fid"] for c in before["cells"]]
    assert typed.run("evaluate", "--steps", "2").code == 0
    assert metrics(typed, "student-2")["protocol"]["sampler"] == "ddim"
    assert typed.run("report").code == 0
    with (typed.root / "reports/table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["sampler"] for row in rows if row["kind"] == "teacher"} == {sampler}
    assert {row["sampler"] for row in rows if row["kind"] == "student"} == {"ddim"}
    page = (typed.root / "reports/index.html").read_text(encoding="utf-8")
    assert f"teacher by {called}".replace("'", "&#39;") in page


def test_a_wrong_name_suggests_the_right_one(typed: Typed) -> None:
    params = typed.params()
    params["evaluation"]["teacher_sampler"] = "ddmi"
    typed.write(params)
    sentence = "evaluation.teacher_sampler is 'ddmi': did you mean 'ddim'?"
    assert sentence in typed.refused("evaluate-teacher")
