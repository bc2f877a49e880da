"""`DiffusionModel.sample`: seeds, labels, guidance, the count of evaluations, and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from pdpipe.diffusion import DDIM, SAMPLERS, Ancestral, Condition, CosineSchedule, uniform_grid
from pdpipe.errors import ModelError
from pdpipe.models import (
    DiffusionModel,
    evaluations_of,
    make_sampler,
    sample_noise,
)

MakeModel = Callable[..., DiffusionModel]
STUDENT = {"w_frequencies": 4, "w_max": 4.0}
LABELS = [k % 10 for k in range(23)]


@pytest.fixture
def teacher(make_model: MakeModel) -> DiffusionModel:
    return make_model()


@pytest.fixture
def student(make_model: MakeModel) -> DiffusionModel:
    return make_model(STUDENT)


def watch(network: nn.Module) -> list[Tensor]:
    """The z_t of every evaluation from now on."""
    seen: list[Tensor] = []
    network.register_forward_hook(lambda module, inputs, out: seen.append(inputs[0].clone()))
    return seen


def test_noise_is_standard_normal_and_independent() -> None:
    noise = sample_noise((1, 8, 8), seed=0, first=0, count=500).flatten(1)
    deviation = 1 / math.sqrt(noise.numel())
    assert abs(noise.mean().item()) < 5 * deviation
    assert abs(noise.var().item() - 1) < 5 * deviation * math.sqrt(2)
    between = (noise[:-1] * noise[1:]).mean().item()
    assert abs(between) < 5 * deviation
    assert len(noise.unique(dim=0)) == 500


def test_noise_of_a_sample_depends_on_its_index_and_seed_alone() -> None:
    whole = sample_noise((1, 8, 8), seed=3, first=0, count=20)
    for first, count in ((0, 1), (5, 3), (19, 1), (7, 13)):
        part = sample_noise((1, 8, 8), seed=3, first=first, count=count)
        assert torch.equal(part, whole[first : first + count])
    other = sample_noise((1, 8, 8), seed=4, first=0, count=20)
    assert not (other == whole).any()


def test_noise_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    sample_noise((1, 8, 8), seed=0, first=0, count=2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("w", "which"), [(0.0, "teacher"), (2.0, "teacher"), (2.0, "student")])
def test_batch_size_changes_no_noise_and_hardly_an_image(
    w: float, which: str, request: pytest.FixtureRequest
) -> None:
    model: DiffusionModel = request.getfixturevalue(which)
    images, noises = [], []
    for size in (1, 7, 256):
        seen = watch(model.network)
        images.append(model.sample(LABELS, w=w, steps=1, seed=9, batch_size=size, clip=False))
        doubled = which == "teacher" and w > 0
        noises.append(torch.cat([z[: len(z) // 2] if doubled else z for z in seen]))
    assert torch.equal(noises[0], sample_noise((1, 8, 8), seed=9, first=0, count=len(LABELS)))
    for noise, image in zip(noises, images, strict=True):
        assert torch.equal(noise, noises[0])
        assert_close(image, images[0], rtol=0, atol=1e-4)
    several = [model.sample(LABELS, w=w, steps=5, seed=9, batch_size=s) for s in (1, 7, 256)]
    for image in several:
        assert_close(image, several[0], rtol=0, atol=1e-4)


def test_first_goes_on_where_another_call_ended(student: DiffusionModel) -> None:
    whole = student.sample(LABELS, w=1.0, seed=2)
    begun = student.sample(LABELS[:9], w=1.0, seed=2)
    rest = student.sample(LABELS[9:], w=1.0, seed=2, first=9)
    assert_close(torch.cat([begun, rest]), whole, rtol=0, atol=1e-4)
    assert (student.sample(LABELS[9:], w=1.0, seed=2) - rest).abs().max() > 0.01


def test_each_image_has_its_own_label(teacher: DiffusionModel) -> None:
    """A changed label changes its own image, and no other."""
    changed = [*LABELS]
    changed[4] = (LABELS[4] + 1) % 10
    first, second = (teacher.sample(x, steps=3, seed=1, clip=False) for x in (LABELS, changed))
    difference = (first - second).abs().amax(dim=(1, 2, 3))
    assert difference[4] > 1e-3
    difference[4] = 0
    assert difference.max() < 1e-5


@pytest.mark.parametrize("steps", [1, 3])
def test_evaluations_of_the_network(
    steps: int, teacher: DiffusionModel, student: DiffusionModel
) -> None:
    """An image costs a step one evaluation; with a guided teacher it costs two."""
    costs = [(teacher, 0.0, 1), (teacher, 0.5, 2), (student, 0.0, 1), (student, 4.0, 1)]
    for model, w, cost in costs:
        assert model.evaluations_per_step(w) == cost
        seen = watch(model.network)
        model.sample(LABELS, w=w, steps=steps, batch_size=8)
        assert sum(len(z) for z in seen) == cost * steps * len(LABELS)
        assert {len(z) for z in seen} <= {8, 7, 6}, "a guided step is one batch, doubled"
        assert len(seen) == steps * math.ceil(len(LABELS) * cost / 8)


def test_guided_teacher_is_two_evaluations_mixed(teacher: DiffusionModel) -> None:
    """The whole trajectory again, conditional and unconditional called apart."""
    labels = torch.tensor(LABELS)
    parts = [
        teacher.predictor.denoiser(Condition(chosen))
        for chosen in (labels, torch.full_like(labels, 10))
    ]

    def denoiser(z_t: Tensor, t: Tensor) -> Tensor:
        conditional, unconditional = (part(z_t, t) for part in parts)
        return (1 + 1.7) * conditional - 1.7 * unconditional

    z_1 = sample_noise((1, 8, 8), seed=5, first=0, count=len(labels))
    for clip in (True, False):
        expected = DDIM(teacher.schedule, clip=clip).sample(denoiser, z_1, uniform_grid(4))
        found = teacher.sample(labels, w=1.7, steps=4, seed=5, clip=clip)
        assert_close(found, expected, rtol=0, atol=1e-4)
    unguided = teacher.sample(labels, w=0.0, steps=4, seed=5, clip=False)
    assert (unguided - found).abs().max() > 0.05


def test_student_is_given_its_w(student: DiffusionModel) -> None:
    labels = torch.tensor(LABELS)
    z_1 = sample_noise((1, 8, 8), seed=0, first=0, count=len(labels))
    images = []
    for w in (0.0, 0.3, 4.0):
        weights = torch.full((len(labels),), w)
        denoiser = student.predictor.denoiser(Condition(labels, weights))
        images.append(student.sample(LABELS, w=w))
        expected = DDIM(student.schedule, clip=True).sample(denoiser, z_1, uniform_grid(4))
        assert_close(images[-1], expected, rtol=0, atol=1e-5)
    assert (images[0] - images[1]).abs().max() > 1e-3
    assert (images[0] - images[2]).abs().max() > 1e-3


def test_steps_by_default(teacher: DiffusionModel, student: DiffusionModel) -> None:
    assert (teacher.resolve_steps(None), student.resolve_steps(None)) == (64, 4)
    assert (teacher.resolve_steps(7), student.resolve_steps(7)) == (7, 7)
    assert torch.equal(student.sample([1, 2]), student.sample([1, 2], steps=4))


def test_clipped_by_default(teacher: DiffusionModel) -> None:
    clipped, free = (teacher.sample(LABELS, w=4.0, steps=3, clip=c) for c in (True, False))
    assert clipped.abs().max() <= 1 < free.abs().max()
    assert torch.equal(teacher.sample(LABELS, w=4.0, steps=3), clipped)


def test_threads_change_speed_and_nothing_else(teacher: DiffusionModel) -> None:
    """On two threads batches run side by side: the same bits in the same order."""
    alone = teacher.sample(LABELS, w=1.0, steps=3, batch_size=5)
    torch.set_num_threads(2)
    try:
        together = teacher.sample(LABELS, w=1.0, steps=3, batch_size=5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(together, alone)


def test_batches_are_reported(student: DiffusionModel) -> None:
    counts: list[tuple[int, int]] = []
    student.sample(LABELS, batch_size=10, on_batch=lambda *done: counts.append(done))
    assert counts == [(10, 4), (10, 4), (3, 4)]


def test_a_guided_teacher_makes_half_as_many_at_a_time(teacher: DiffusionModel) -> None:
    """It gives the network every image twice, so as many go through it at once."""
    for w, expected in ((0.0, [10, 10, 3]), (1.0, [5, 5, 5, 5, 3])):
        counts: list[tuple[int, int]] = []

        def note(count: int, evaluations: int, counts: list[tuple[int, int]] = counts) -> None:
            counts.append((count, evaluations))

        teacher.sample(LABELS, w=w, steps=3, batch_size=10, on_batch=note)
        assert [count for count, _ in counts] == expected
        assert {evaluations for _, evaluations in counts} == {3 if w == 0 else 6}


def test_no_labels_no_images(student: DiffusionModel) -> None:
    assert student.sample([]).shape == (0, 1, 8, 8)


def test_unconditional_models_take_zeros(make_model: MakeModel) -> None:
    model = make_model({"num_classes": 0})
    seen = watch(model.network)
    assert model.sample([0, 0, 0], steps=2).shape == (3, 1, 8, 8)
    assert sum(len(z) for z in seen) == 6
    with pytest.raises(ModelError, match=r"teacher is unconditional: only w = 0 can be used"):
        model.sample([0], w=0.5)


@pytest.mark.parametrize("w", [-0.1, 4.1, float("nan"), float("inf")])
def test_w_outside_the_range(w: float, student: DiffusionModel) -> None:
    with pytest.raises(
        ModelError, match=r"student-4 was trained for guidance weights w from 0 to 4, not"
    ):
        student.sample([1], w=w)


WEIGHTS = [0.0, 0.3, 1.0, 2.5] * 6


@pytest.mark.parametrize("which", ["teacher", "student"])
@pytest.mark.parametrize("size", [256, 5])
def test_each_image_may_have_a_w_of_its_own(
    which: str, size: int, request: pytest.FixtureRequest
) -> None:
    """Each is the image that the whole batch has at its w."""
    model: DiffusionModel = request.getfixturevalue(which)
    count = len(LABELS)
    found = model.sample(LABELS, w=WEIGHTS[:count], steps=3, batch_size=size)
    for w in set(WEIGHTS):
        whole = model.sample(LABELS, w=w, steps=3, batch_size=size)
        own = [k for k in range(count) if WEIGHTS[k] == w]
        assert_close(found[own], whole[own], rtol=0, atol=1e-5)
        assert (found - whole).abs().max() > 0.01
    for same in (tuple(WEIGHTS[:count]), torch.tensor(WEIGHTS[:count]).double()):
        assert torch.equal(model.sample(LABELS, w=same, steps=3, batch_size=size), found)


def test_one_w_for_all_has_the_same_bits_however_it_is_given(teacher: DiffusionModel) -> None:
    expected = teacher.sample(LABELS, w=0.3, steps=2)
    for same in (torch.tensor(0.3, dtype=torch.float64), [0.3] * len(LABELS)):
        assert torch.equal(teacher.sample(LABELS, w=same, steps=2), expected)


def test_a_teacher_evaluates_twice_only_where_some_w_asks_for_it(teacher: DiffusionModel) -> None:
    taken: list[tuple[int, int]] = []
    teacher.sample([1, 2], w=[0.0, 0.0], steps=3, on_batch=lambda *done: taken.append(done))
    teacher.sample([1, 2], w=[0.0, 1.0], steps=3, on_batch=lambda *done: taken.append(done))
    assert taken == [(2, 3), (2, 6)]


@pytest.mark.parametrize(
    ("w", "sentence"),
    [
        ([0.0, 1.0], "w has 2 numbers for 3 images: give one number, or one for each image"),
        ([], "w has 0 numbers for 3 images"),
        (torch.ones(3, 1), "w has 3x1 numbers for 3 images"),
        ([0.0, 4.1, 0.0], "trained for guidance weights w from 0 to 4, not 4.1"),
        ([0.0, float("nan"), 0.0], "from 0 to 4, not nan"),
        (["a", "b", "c"], "w is a guidance weight: give a number, or one for each image"),
        ("1.0", "w is a guidance weight: give a number"),
        (None, "w is a guidance weight: give a number"),
        ([True, False, True], "w is a guidance weight: give a number"),
        ([[1.0], 2.0], "w is a guidance weight: give a number"),
        ([1j, 0, 0], "w is a guidance weight: give a number"),
    ],
)
def test_w_that_cannot_be_used(w: object, sentence: str, student: DiffusionModel) -> None:
    with pytest.raises(ModelError, match=sentence):
        student.sample([1, 2, 3], w=w)  # type: ignore[arg-type]


def test_the_ends_of_the_range_can_be_given_in_float32(make_model: MakeModel) -> None:
    model = make_model(STUDENT, w_min=0.1, w_max=0.3)
    model.sample([1, 2], w=torch.tensor([0.1, 0.3]), steps=1)


def test_w_of_a_teacher_has_no_upper_end(teacher: DiffusionModel) -> None:
    teacher.sample([1], w=9.0, steps=1)
    for w in (-0.5, float("nan")):
        with pytest.raises(
            ModelError, match=r"teacher was trained for guidance weights w from 0, not"
        ):
            teacher.sample([1], w=w)


def test_a_w_below_w_min(make_model: MakeModel) -> None:
    model = make_model(STUDENT, w_min=1.0, w_max=2.0)
    with pytest.raises(ModelError, match=r"w from 1 to 2, not 0"):
        model.sample([1])


@pytest.mark.parametrize("label", [-1, 10, 99])
def test_label_outside_the_classes(label: int, student: DiffusionModel) -> None:
    """The null label, 10, is no class either."""
    with pytest.raises(ModelError, match=rf"label {label} is not a class .* 10, numbered 0 to 9"):
        student.sample([3, label])


@pytest.mark.parametrize(
    "labels", [[1.5], [2.0], torch.tensor([0.1]), [True], ["1"], [None], iter([1])]
)
def test_a_label_that_is_no_whole_number(labels: object, student: DiffusionModel) -> None:
    with pytest.raises(ModelError, match=r"labels are class indices: give whole numbers"):
        student.sample(labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_whole_kind(kind: torch.dtype, student: DiffusionModel) -> None:
    assert torch.equal(student.check_labels(torch.tensor([3, 9], dtype=kind)), torch.tensor([3, 9]))


def test_no_batch(student: DiffusionModel) -> None:
    with pytest.raises(ModelError, match=r"the batch size is 0: use 1 or more"):
        student.sample([3], batch_size=0)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps(steps: int, student: DiffusionModel) -> None:
    with pytest.raises(ModelError, match=rf"the number of steps is {steps}: use 1 or more"):
        student.sample([3], steps=steps)


def test_images_of_any_precision_are_float32(student: DiffusionModel) -> None:
    student.autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    rough = student.sample(LABELS)
    assert rough.dtype == torch.float32
    student.autocast = lambda: torch.autocast("cpu", enabled=False)
    assert 0 < (rough - student.sample(LABELS)).abs().mean() < 0.1


def test_says_what_it_is(teacher: DiffusionModel, student: DiffusionModel) -> None:
    assert repr(student).startswith("<pdpipe student-4: 4 steps, ")
    assert "teacher: any steps" in repr(teacher)
    assert student.parameters > teacher.parameters


def test_samples_of_stochastic_samplers_do_not_depend_on_the_batch(
    teacher: DiffusionModel,
) -> None:
    labels = [3, 1, 4, 1, 5, 9, 2]
    for sampler in (Ancestral(teacher.schedule, gamma=0.5), DDIM(teacher.schedule, eta=0.7)):
        whole = teacher.sample(labels, w=1.0, steps=4, sampler=sampler, batch_size=64)
        parts = teacher.sample(labels, w=1.0, steps=4, sampler=sampler, batch_size=4)
        assert_close(whole, parts, rtol=0, atol=1e-4)
        later = teacher.sample(labels[2:], w=1.0, steps=4, sampler=sampler, first=2)
        assert_close(later, whole[2:], rtol=0, atol=1e-4)
        other = teacher.sample(labels, w=1.0, steps=4, sampler=sampler, seed=1)
        assert (other - whole).abs().max() > 0.1


def test_a_grid_of_ones_own(teacher: DiffusionModel) -> None:
    uniform = teacher.sample([1, 2], steps=4)
    assert torch.equal(teacher.sample([1, 2], grid=uniform_grid(4)), uniform)
    grid = torch.tensor([1.0, 0.7, 0.2, 0.0], dtype=torch.float64)
    assert (teacher.sample([1, 2], grid=grid) - uniform).abs().max() > 1e-3


def test_a_sampler_of_another_schedule_is_refused(teacher: DiffusionModel) -> None:
    other = DDIM(CosineSchedule(log_snr_min=-10.0))
    with pytest.raises(ModelError, match="another schedule than teacher: make it with"):
        teacher.sample([1], sampler=other)


def test_w_is_a_number(teacher: DiffusionModel) -> None:
    for w in (math.inf, math.nan):
        with pytest.raises(ModelError, match=f"not {w}"):
            teacher.sample([1], w=w)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("clip", [True, False])
def test_evaluations_are_known_beforehand(name: str, clip: bool, teacher: DiffusionModel) -> None:
    sampler = make_sampler(name, teacher.schedule, clip=clip)
    taken: list[int] = []
    teacher.sample(
        [1, 2], steps=3, sampler=sampler, on_batch=lambda _, evaluations: taken.append(evaluations)
    )
    assert taken == [evaluations_of(sampler, 3)]
    assert taken[0] in {"heun": (5, 6), "rk4": (9, 12)}.get(name, (3,))


def test_n_images_take_their_labels_in_turn(student: DiffusionModel) -> None:
    assert student.choose_labels(None, None).tolist() == list(range(10))
    assert student.choose_labels(None, 23).tolist() == LABELS
    assert student.choose_labels([3, 1], 5).tolist() == [3, 1, 3, 1, 3]
    assert student.choose_labels(7, 3).tolist() == [7, 7, 7]
    assert student.choose_labels([3, 1, 4], 2).tolist() == [3, 1]
    assert student.choose_labels([], 0).tolist() == []
    assert torch.equal(student.sample(n=23, seed=1), student.sample(LABELS, seed=1))
    assert torch.equal(student.sample(), student.sample(range(10)))
    assert_close(student.sample(n=23)[:7], student.sample(n=7), rtol=0, atol=1e-4)


def test_an_unconditional_model_makes_n_images(make_model: MakeModel) -> None:
    model = make_model({"num_classes": 0})
    assert model.sample(steps=2).shape == (1, 1, 8, 8)
    assert torch.equal(model.sample(n=3, steps=2), model.sample([0, 0, 0], steps=2))


@pytest.mark.parametrize("n", [-1, 2.5, "3"])
def test_a_number_of_images_that_is_none(student: DiffusionModel, n: object) -> None:
    with pytest.raises(ModelError, match=r"^n is .*: give a whole number of images"):
        student.sample(n=n)  # type: ignore[call-overload]
    with pytest.raises(ModelError, match=r"^there is no label for 3 images: give"):
        student.sample([], n=3)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("clip", [True, False])
def test_a_trajectory_is_what_the_sampler_passes(
    teacher: DiffusionModel, name: str, clip: bool
) -> None:
    """By the sampler's own states, and by asking the network again at each of them."""
    settings = {"w": 1.5, "steps": 3, "sampler": name, "clip": clip, "seed": 4}
    x, path = teacher.sample(LABELS, return_trajectory=True, batch_size=10, **settings)
    assert torch.equal(x, teacher.sample(LABELS, batch_size=10, **settings))
    assert path.t.tolist() == uniform_grid(3).tolist()
    assert path.z.shape == (4, 23, 1, 8, 8)
    assert path.x_hat.shape == (3, 23, 1, 8, 8)
    assert torch.equal(path.z[0], sample_noise((1, 8, 8), seed=4, first=0, count=23))
    assert torch.equal(path.z[-1], x)
    sampler = make_sampler(name, teacher.schedule, clip=clip)
    denoise = teacher.denoiser(torch.tensor(LABELS), 1.5)
    for i in range(3):
        expected = sampler.x_hat(denoise(path.z[i], path.t[i]), path.z[i], path.t[i])
        assert_close(path.x_hat[i], expected, rtol=0, atol=2e-3 if name == "rk4" else 1e-4)
    if name in ("ddim", "ancestral", "stochastic", "dpm_solver"):
        assert torch.equal(path.x_hat[-1], x)


def test_the_evaluations_of_a_trajectory_are_the_samplers(teacher: DiffusionModel) -> None:
    counts: list[tuple[int, int]] = []
    teacher.sample(
        n=2, w=1.0, steps=3, sampler="heun", return_trajectory=True,
        on_batch=lambda *done: counts.append(done),
    )  # fmt: skip
    assert counts == [(2, 2 * evaluations_of(make_sampler("heun", teacher.schedule), 3))]


def test_the_trajectory_of_no_images(student: DiffusionModel) -> None:
    x, path = student.sample([], return_trajectory=True)
    assert x.shape == (0, 1, 8, 8)
    assert path.z.shape == (5, 0, 1, 8, 8)
