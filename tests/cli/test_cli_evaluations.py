"""Evaluations typed by hand: what is measured again, rungs, and the weights of Inception."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pdpipe.models import DiffusionModel
from pdpipe.tensor_files import load_tensors, save_tensors

if TYPE_CHECKING:
    from conftest import Typed


def read(typed: Typed, path: str) -> Any:
    return json.loads((typed.root / path).read_text(encoding="utf-8"))


def cells(typed: Typed, path: str) -> dict[tuple[int, float], Any]:
    return {(cell["steps"], cell["w"]): cell for cell in read(typed, path)["cells"]}


def test_another_w_is_measured_alone(typed: Typed) -> None:
    """The kept cells have the very seconds of the first run; only the new ones took some now."""
    cost, metrics = "results/cost/evaluate-teacher.json", "results/metrics/teacher.json"
    before, figures = cells(typed, cost), cells(typed, metrics)
    params = typed.params()
    params["evaluation"]["w"] = [0.0, 0.5, 1.0]
    typed.write(params)
    assert typed.run("evaluate-teacher").code == 0
    after = cells(typed, cost)
    assert set(after) - set(before) == {(2, 0.5), (4, 0.5)}
    assert {place: after[place] for place in before} == before
    found = cells(typed, metrics)
    assert {place: found[place] for place in figures} == figures
    for command in (["evaluate", "--steps", "2"], ["rungs"], ["report"]):
        assert typed.run(*command).code == 0


def test_other_settings_measure_everything_again(typed: Typed) -> None:
    cost = "results/cost/evaluate-teacher.json"
    before = cells(typed, cost)
    params = typed.params()
    params["evaluation"]["seed"] = 5
    typed.write(params)
    assert typed.run("evaluate-teacher").code == 0
    after = cells(typed, cost)
    assert all(after[place]["seconds"] != before[place]["seconds"] for place in before)
    kept = list((typed.root / ".pdpipe/cells/teacher").iterdir())
    assert len(kept) == 1  # those of the old seed are gone


def test_one_rung_is_a_line_and_no_file(typed: Typed) -> None:
    before = typed.contents()
    printed = typed.run("rungs", "--steps", "2")
    assert printed.code == 0
    assert "student-2 from student-4: loss 0." in printed.out
    assert "at w = 1" in printed.out
    assert typed.contents() == before
    assert "--steps 3 is not a rung of the ladder" in typed.refused("rungs", "--steps", "3")


@pytest.mark.parametrize("command", ["reference", "evaluate-teacher"])
def test_inception_without_its_weights_says_how_to_get_them(typed: Typed, command: str) -> None:
    params = typed.params()
    params["evaluation"]["extractor"] = "inception-v3-compat"
    typed.write(params)
    assert "needs a weights file: download https://" in typed.refused(command)
    params["runtime"]["weights"] = "models/extractor.safetensors"
    typed.write(params)
    assert "does not begin with evaluation.weights_sha256" in typed.refused(command)


def with_tensors(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Change the floating-point tensors of a model's file, as if it had been written so."""
    tensors, about = load_tensors(path, "pdpipe")
    changed = {k: change(v) if v.is_floating_point() else v for k, v in tensors.items()}
    save_tensors(path, changed, "pdpipe", about)


def test_images_that_are_not_finite_are_refused(typed: Typed) -> None:
    with_tensors(typed.root / "models/student-2.safetensors", lambda t: t * torch.nan)
    printed = typed.refused("evaluate", "--steps", "2")
    assert "student-2" in printed
    assert "not finite" in printed


def test_a_reference_of_another_extractor_is_refused(typed: Typed) -> None:
    with_tensors(typed.root / "models/extractor.safetensors", lambda t: t * 1.5)
    for command in (["evaluate-teacher"], ["evaluate", "--steps", "2"]):
        printed = typed.refused(*command)
        assert printed.startswith("results/reference.safetensors was made with another extractor")
        assert printed.endswith("run `dvc repro reference`")


def test_an_interrupted_evaluation_goes_on(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the 4 cells of a new seed, the 2 finished ones are not made again."""
    params = typed.params()
    params["evaluation"]["seed"] = 5
    typed.write(params)
    sample, calls = DiffusionModel.sample, []

    def interrupted(self: DiffusionModel, labels: Any, **rest: Any) -> torch.Tensor:
        calls.append(len(labels))
        if len(calls) == 1 + 3:  # the first call warms up
            raise KeyboardInterrupt
        return sample(self, labels, **rest)

    before = typed.contents()
    monkeypatch.setattr(DiffusionModel, "sample", interrupted)
    assert typed.run("evaluate-teacher").code == 130
    assert typed.contents() == before
    calls[:] = [0] * 4
    assert typed.run("evaluate-teacher").code == 0
    assert len(calls) == 4 + 1 + 2
    assert read(typed, "results/metrics/teacher.json")["protocol"]["seed"] == 5


def test_too_few_samples_are_refused_before_any_work(typed: Typed) -> None:
    params = typed.params()
    params["evaluation"] |= {"num_samples": 3, "paired_samples": 2}
    typed.write(params)
    assert "evaluation.num_samples: input should be greater than" in typed.refused("rungs")
