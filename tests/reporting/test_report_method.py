"""The pictures of the method say what they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pdpipe.diffusion import (
    DDIM,
    LOSS_WEIGHTS,
    SCHEDULES,
    GaussianMixture,
    Schedule,
    uniform_grid,
)
from pdpipe.reporting import method

every_schedule = pytest.mark.parametrize("kind", list(SCHEDULES))


@every_schedule
def test_exact_students_skip_states_and_end_at_the_same_image(kind: str) -> None:
    schedule: Schedule = SCHEDULES[kind]()
    denoiser = GaussianMixture.pair().denoiser(schedule)
    z_1 = torch.randn(16, 2, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    *before, teachers = DDIM(schedule).states(denoiser, z_1, uniform_grid(8))
    student = denoiser
    for steps in (4, 2, 1):
        student = method.exact_student(student, steps, schedule)
        *own, image = DDIM(schedule).states(student, z_1, uniform_grid(steps))
        skipped = before[8 // steps - 1 :: 8 // steps]
        for found, expected in zip(own, skipped, strict=True):
            assert found.t == expected.t
            torch.testing.assert_close(found.z, expected.z, rtol=0, atol=1e-9)
        assert (image.z - teachers.z).abs().max() < 5e-4  # z_0 against x_hat at the last time


@every_schedule
def test_trajectories_start_in_the_noise_and_halve_their_points(kind: str) -> None:
    figure = method.trajectories(SCHEDULES[kind]())
    points = []
    for axes in figure.axes:
        drawn = [line for line in axes.lines if line.get_marker() == "o"]
        points.append(len(np.asarray(drawn[0].get_xdata())))
    assert points == [9, 5, 3]
    ends = [[line.get_ydata()[-1] for line in axes.lines[-9:]] for axes in figure.axes]
    np.testing.assert_allclose(ends[1], ends[0], atol=5e-4)
    np.testing.assert_allclose(ends[2], ends[0], atol=5e-4)


@every_schedule
def test_weights_are_the_papers_up_to_a_constant(kind: str) -> None:
    schedule: Schedule = SCHEDULES[kind]()
    left, right = method.loss_weights(schedule).axes
    paper = {
        "constant": np.zeros_like,
        "snr": lambda log_snr: log_snr,
        "snr_truncated": lambda log_snr: np.maximum(log_snr, 0),
        "snr_plus_one": lambda log_snr: np.logaddexp(0, log_snr),
    }
    assert {line.get_label() for line in left.lines} == set(LOSS_WEIGHTS) == set(paper)
    for line, joint in zip(left.lines, right.lines, strict=True):
        log_snr, shown = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        expected = paper[str(line.get_label())](log_snr)
        middle = np.abs(log_snr).argmin()
        np.testing.assert_allclose(shown, expected - expected[middle], atol=1e-6)
        density = np.asarray(joint.get_ydata()) - shown
        inverse = schedule.density(torch.from_numpy(log_snr)).log().numpy()
        np.testing.assert_allclose(density, inverse - inverse[middle], atol=1e-9)
