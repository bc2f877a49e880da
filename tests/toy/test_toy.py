"""The toy: its distance is one, its truth is true, and distillation works."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from PIL import Image

from pdpipe.cli import tools
from pdpipe.diffusion import Condition, CosineSchedule, GaussianMixture, guided
from pdpipe.errors import ParamsError
from pdpipe.reporting import figures
from pdpipe.reporting.clouds import clouds
from pdpipe.toy import ToySettings, panels, run_toy
from pdpipe.toy.run import distance, exact_teacher

SMALL = ToySettings(steps=4, guide_updates=3, halve_updates=2, batch_size=16, points=20)


def test_distance_is_that_of_the_best_pairing() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 2, generator=generator) for _ in range(2))
    best = min(
        float((a - b[list(order)]).norm(dim=1).mean()) for order in itertools.permutations(range(5))
    )
    assert distance(a, b) == pytest.approx(best, abs=1e-6)
    assert distance(a, a.flip(0)) == pytest.approx(0, abs=1e-6)


def test_the_teacher_is_guided_exactly() -> None:
    mixture, schedule = GaussianMixture.grid(), CosineSchedule()
    labels, w = torch.tensor([0, 3, 4]), torch.tensor([0.0, 0.5, 2.0])
    z = torch.randn(3, 2, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.tensor(0.6, dtype=torch.float64)
    found = exact_teacher(mixture, schedule)(Condition(labels, w))(z, t)
    conditional, whole = (mixture.denoiser(schedule, y)(z, t) for y in (labels, None))
    expected = guided(conditional, whole, w.view(-1, 1, 1, 1).double())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_clouds_for_each_model_step_count_and_w() -> None:
    toy = run_toy(SMALL)
    assert [(c.model, c.steps, c.w) for c in toy.clouds] == [
        (model, steps, w)
        for steps in (4, 2, 1)
        for model in ("teacher", "student")
        for w in (0.0, 1.0)
    ]
    for cloud in toy.clouds:
        assert cloud.points.shape == (20, 2)
        assert cloud.distance == distance(cloud.points, toy.truth[cloud.w])
    again = run_toy(SMALL)
    assert [c.distance for c in again.clouds] == [c.distance for c in toy.clouds]
    with figures.style():
        drawn = clouds(panels(toy))
    assert len(drawn.axes) == 4 * 4
    titles = [axes.get_title() for axes in drawn.axes]
    assert f"1 step\nW₁ {toy.clouds[-1].distance:.3f}" in titles


@pytest.mark.slow
def test_one_step_is_nearly_as_good_as_the_truth() -> None:
    """With a fraction of the default's training, where one step of the teacher is useless."""
    settings = ToySettings(steps=16, guide_updates=400, halve_updates=100, batch_size=256)
    toy = run_toy(settings)
    for w, floor in toy.floor.items():
        teacher, student = toy.of("teacher", w)[-1], toy.of("student", w)[-1]
        assert (teacher.steps, student.steps) == (1, 1)
        assert student.distance < 2 * floor
        assert student.distance < 0.3 * teacher.distance


def test_the_command_writes_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pdpipe.toy

    monkeypatch.setattr(pdpipe.toy, "ToySettings", lambda seed: SMALL)
    tools.toy(tmp_path / "toy.png", seed=0)
    printed = capsys.readouterr().out
    assert "student by steps  4: " in printed
    assert "two draws of the truth" in printed
    with Image.open(tmp_path / "toy.png") as image:
        assert image.format == "PNG"
    tools.toy(tmp_path / "toy.svg", seed=0)
    assert (tmp_path / "toy.svg").read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("out", "sentence"),
    [("toy.jpg", "does not end in .png or .svg"), ("nowhere/toy.png", "the folder nowhere")],
)
def test_a_picture_that_cannot_be_written(out: str, sentence: str) -> None:
    with pytest.raises(ParamsError, match=sentence):
        tools.toy(Path(out), seed=0)
