"""Students of a study: what they are distilled from, and what they become."""

from __future__ import annotations

import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pdpipe.data import ImageSet
from pdpipe.errors import TrainingError
from pdpipe.methods import method_of
from pdpipe.methods.tasks import study_task
from pdpipe.models import DiffusionModel
from pdpipe.params import DistilledParams, Params
from pdpipe.plan import Work

if TYPE_CHECKING:
    from conftest import MakeJob

HELPERS = runpy.run_path(str(Path(__file__).with_name("stages_of_training.py")))
train_student = HELPERS["train_student"]

MakeModel = Callable[..., DiffusionModel]
Train = Callable[..., tuple[DiffusionModel, Work]]
W: dict[str, Any] = {"w_frequencies": 4, "w_max": 4.0}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # network, metadata
    "teacher": ({}, {}),
    "unconditional": ({"num_classes": 0}, {"w_max": 0.0}),
    "student": (W, {}),
    "unguided": ({}, {"kind": "student", "guidance": "input", "steps": 4, "w_max": 0.0}),
    "stochastic": (W, {"sampler": "stochastic"}),
    "encoder": (W, {"kind": "encoder"}),
    "naive": (W, {"guidance": "mixture"}),
}


def student_params(algorithm: str, steps: int = 2, **changes: Any) -> DistilledParams:
    values = {"from": "?", "updates": 5, "learning_rate": 1e-3}
    return DistilledParams.model_validate(
        {"algorithm": algorithm, "steps": steps, **values, **changes}
    )


@pytest.fixture
def train(make_job: MakeJob, tiny_params: Params, digits: ImageSet) -> Train:
    """The real stage, from a model by an algorithm."""

    def run(teacher: DiffusionModel, student: DistilledParams, job: Any = None) -> Any:
        p = tiny_params
        network, info, cost = train_student(
            job or make_job("s"), digits, teacher, student, p.halve, p.guide, {"seed": 3}
        )
        return DiffusionModel(network, info, torch.device("cpu"), ""), cost

    return run


@pytest.fixture
def model(make_model: MakeModel) -> Callable[[str], DiffusionModel]:
    def make(name: str) -> DiffusionModel:
        network, info = MODELS[name]
        return make_model(network, 1, **info)

    return make


@pytest.mark.parametrize(
    ("algorithm", "allowed"),
    [
        ("guide", {"teacher", "unconditional"}),
        ("halve", {"teacher", "unconditional", "student", "unguided", "stochastic"}),
        ("stochastic", {"teacher", "unconditional", "student", "unguided", "stochastic"}),
        ("encoder", {"teacher", "unconditional", "student", "unguided", "stochastic", "encoder"}),
        ("naive", {"teacher", "naive"}),
        ("tract", {"teacher", "unconditional", "student", "unguided", "stochastic"}),
    ],
)
def test_what_each_algorithm_can_distil(
    algorithm: str, allowed: set[str], model: Callable[[str], DiffusionModel], train: Train
) -> None:
    for name in MODELS:
        if name in allowed:
            assert method_of(algorithm).complaint(model(name)) is None
        else:
            with pytest.raises(TrainingError, match=r"^[^\n]+: (take|use) [^\n]+ in `from`$"):
                train(model(name), student_params(algorithm))


@pytest.mark.parametrize(
    ("algorithm", "source", "steps", "given", "found"),
    [
        ("halve", "teacher", 8, 16, 16),
        ("halve", "student", 1, None, 4),
        ("halve", "student", 4, 64, 64),
        ("encoder", "student", 2, None, 4),
        ("stochastic", "student", 4, None, 4),
        ("stochastic", "stochastic", 2, None, 2),  # of 4 intervals: it takes 2 at a time
        ("stochastic", "stochastic", 4, 4, 4),
        ("naive", "teacher", 8, 16, 16),
        ("naive", "naive", 2, None, 4),
    ],
)
def test_steps_of_the_teacher(
    algorithm: str,
    source: str,
    steps: int,
    given: int | None,
    found: int,
    model: Callable[[str], DiffusionModel],
    tiny_params: Params,
) -> None:
    student = student_params(algorithm, steps, teacher_steps=given)
    task = study_task(student, tiny_params.guide, tiny_params.halve)
    assert method_of(algorithm).teacher_steps(model(source), task) == found


@pytest.mark.parametrize(
    ("algorithm", "source", "steps", "given", "complaint"),
    [
        ("halve", "teacher", 2, None, "teacher can take any number of steps: say in `"),
        ("halve", "student", 4, None, "takes 4 steps, which is no multiple of the student's 4"),
        ("halve", "student", 3, None, "takes 4 steps, which is no multiple of the student's 3"),
        ("encoder", "student", 8, None, "takes 4 steps, which is no multiple of the student's 8"),
        ("stochastic", "student", 2, None, "2 steps by algorithm stochastic needs a teacher of 2"),
        ("stochastic", "stochastic", 4, None, "needs a teacher of 4, and student-4 takes 2"),
        ("naive", "naive", 1, None, "of 1 step by algorithm naive needs a teacher of 2"),
        ("naive", "teacher", 2, 2, "needs a teacher of 4, and teacher takes 2: change `from`"),
        ("naive", "student", 2, None, "student-4 has no two predictions to mix"),
    ],
)  # fmt: skip
def test_steps_that_cannot_be_distilled(
    algorithm: str,
    source: str,
    steps: int,
    given: int | None,
    complaint: str,
    model: Callable[[str], DiffusionModel],
    train: Train,
) -> None:
    with pytest.raises(TrainingError) as error:
        train(model(source), student_params(algorithm, steps, teacher_steps=given))
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("algorithm", "source", "becomes"),
    [
        ("halve", "student", {}),
        ("halve", "stochastic", {}),  # of 4: two DDIM steps in one
        ("stochastic", "student", {"sampler": "stochastic"}),
        ("encoder", "student", {"kind": "encoder"}),
        ("encoder", "encoder", {"kind": "encoder"}),
        ("naive", "teacher", {"guidance": "mixture"}),
        ("naive", "naive", {"guidance": "mixture"}),
        ("tract", "student", {}),
        ("halve", "teacher", {"w_max": 0.0}),
        ("halve", "unconditional", {"w_max": 0.0}),
    ],
)
def test_what_a_student_says_of_itself(
    algorithm: str,
    source: str,
    becomes: dict[str, Any],
    model: Callable[[str], DiffusionModel],
    train: Train,
) -> None:
    teacher = model(source)
    steps = {"stochastic": 4}.get(algorithm, 1 if source == "stochastic" else 2)
    given = None if teacher.info.steps else 2 * steps
    student, cost = train(teacher, student_params(algorithm, steps, teacher_steps=given))
    says = {"kind": "student", "guidance": "input", "sampler": "ddim", "w_max": 4.0, **becomes}
    found = student.info.model_dump()
    assert {key: found[key] for key in says} == says
    assert (student.info.name, student.info.steps) == (f"student-{steps}", steps)
    assert (student.info.w_min, student.info.provenance) == (0.0, {"seed": 3})
    assert student.info.network == vars(student.network.config)
    assert student.network.config.w_max == says["w_max"]
    assert (cost.updates, cost.batch_size) == (5, 8)
    assert any(
        not torch.equal(tensor, teacher.network.state_dict().get(name, tensor))
        for name, tensor in student.network.state_dict().items()
    ), "nothing was learned"


class Stop(Exception):
    """As good as a kill for what is on the disk."""


@pytest.mark.parametrize(
    ("algorithm", "source", "calls_an_update"), [("naive", "teacher", 2), ("tract", "student", 1)]
)
def test_an_interrupted_student_ends_with_the_bits_of_an_unbroken_run(
    algorithm: str,
    source: str,
    calls_an_update: int,
    model: Callable[[str], DiffusionModel],
    make_job: MakeJob,
    train: Train,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With layers that its teacher lacks, which start at random; and with an average of its own."""
    student = student_params(algorithm, teacher_steps=4, updates=15, network={"base_channels": 16})
    unbroken, _ = train(model(source), student, make_job("s"))
    shutil.rmtree(make_job("s").snapshots.folder)

    teacher, calls = model(source), 0

    def stop(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 12 * calls_an_update + 1:  # in the 13th update
            raise Stop

    handle = teacher.network.register_forward_hook(stop)
    with pytest.raises(Stop):
        train(teacher, student, make_job("s", snapshot_seconds=1e-9))
    handle.remove()
    torch.manual_seed(99)
    resumed, _ = train(teacher, student, make_job("s"))
    (update,) = re.findall(r"^s: going on from update (\d+)$", capfd.readouterr().err, re.MULTILINE)
    assert 0 < int(update) < 13  # 10 where an update takes less than the grace for a snapshot
    for name, tensor in unbroken.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
