"""Where the training of a study's student starts: at its teacher's weights, as far as they fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from pdpipe.diffusion import Condition
from pdpipe.methods import method_of
from pdpipe.methods.sizes import fitted
from pdpipe.methods.tasks import study_task
from pdpipe.models import DiffusionModel
from pdpipe.networks import Network
from pdpipe.params import DistilledParams, Params

MakeModel = Callable[..., DiffusionModel]
W: dict[str, Any] = {"w_frequencies": 4, "w_max": 4.0}


def student_params(algorithm: str, **network: Any) -> DistilledParams:
    values = {"from": "?", "steps": 2, "updates": 5, "learning_rate": 1e-3}
    return DistilledParams.model_validate(values | {"algorithm": algorithm, "network": network})


def first_network(teacher: DiffusionModel, student: DistilledParams, params: Params) -> Network:
    task = study_task(student, params.guide, params.halve)
    return method_of(student.algorithm).first_network(teacher, task)


def test_a_network_of_the_same_sizes_is_copied(make_model: MakeModel) -> None:
    teacher = make_model({**W, "dropout": 0.3}, 1).network
    copy = fitted(teacher, {})
    assert copy.config == teacher.config
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(copy.state_dict()[name], tensor), name
        assert copy.state_dict()[name].data_ptr() != tensor.data_ptr()


@pytest.mark.parametrize(
    "changes", [{"base_channels": 4, "head_channels": 4}, {"embedding_channels": 8}]
)
def test_a_smaller_network_takes_the_first_channels(
    changes: dict[str, int], make_model: MakeModel
) -> None:
    teacher = make_model(W, 1).network
    theirs, ours = teacher.state_dict(), fitted(teacher, changes).state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name][tuple(map(slice, tensor.shape))]), name
    assert any(tensor.shape != theirs[name].shape for name, tensor in ours.items())


@pytest.mark.parametrize("blocks", [1, 3])
def test_layers_that_only_one_has(blocks: int, make_model: MakeModel) -> None:
    """Fewer are left out; more keep a random start."""
    teacher = make_model({"blocks_per_level": 2}, 1).network
    student = fitted(teacher, {"blocks_per_level": blocks})
    theirs, ours = teacher.state_dict(), student.state_dict()
    assert (len(ours) > len(theirs)) == (blocks == 3)
    assert torch.equal(ours["conv_in.weight"], theirs["conv_in.weight"])
    z = torch.zeros(2, 1, 8, 8)
    assert student(z, torch.zeros(2), Condition(torch.zeros(2, dtype=torch.long))).isfinite().all()


@pytest.mark.parametrize("w", [0.0, 0.5, 4.0])
def test_naive_students_start_as_their_teacher(
    w: float, make_model: MakeModel, tiny_params: Params
) -> None:
    """Mixed at any w, both are the guided teacher, before the first update; a small one takes w."""
    teacher = make_model({"dropout": 0.4})
    network = first_network(teacher, student_params("naive"), tiny_params).eval()
    assert network.config.dropout == 0.0
    info = teacher.info.model_copy(update={"steps": 2})
    student = DiffusionModel(network, info, torch.device("cpu"), "")
    labels = list(range(10))
    expected = teacher.sample(labels, w=w, steps=2, clip=False)
    assert_close(student.sample(labels, w=w, clip=False), expected, rtol=0, atol=1e-5)
    small = student_params("naive", base_channels=4, head_channels=4)
    config = first_network(teacher, small, tiny_params).config
    assert (config.base_channels, config.w_max) == (4, tiny_params.guide.w_max)
    assert config.w_frequencies == tiny_params.guide.w_frequencies


def test_a_halved_teacher_leaves_its_dropout_behind(
    make_model: MakeModel, tiny_params: Params
) -> None:
    teacher = make_model({"dropout": 0.4})
    network = first_network(teacher, student_params("halve"), tiny_params)
    assert (network.config.dropout, teacher.network.config.dropout) == (0.0, 0.4)
    assert not any(m.p for m in network.modules() if isinstance(m, torch.nn.Dropout))
