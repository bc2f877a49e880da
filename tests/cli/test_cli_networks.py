"""Another network in every stage, and what is said of one that cannot be built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from pdpipe.models import load_model
from pdpipe.networks import UNet, network_of

if TYPE_CHECKING:
    from conftest import Typed

DIT = {"name": "dit", "patch_size": 2, "width": 8, "depth": 1, "head_channels": 4}
STAGES = ("teacher", "guide", "halve --steps 2", "rungs", "evaluate-teacher", "evaluate --steps 2")


def test_the_whole_chain_runs_with_a_transformer(typed: Typed) -> None:
    params = typed.params() | {"network": {**DIT, "conditional": True}}
    typed.write(params)
    for stage in STAGES:
        assert typed.run(*stage.split()).code == 0, stage
    teacher, student = (
        load_model(typed.root / f"models/{name}.safetensors") for name in ("teacher", "student-2")
    )
    for model in (teacher, student):
        assert isinstance(model.network, network_of("dit"))
    assert not teacher.network.takes_w
    assert student.network.takes_w
    assert student.info.network["name"] == "dit"
    images = student.sample(labels=torch.arange(10), steps=2, w=1.0, seed=0)
    assert images.shape == (10, 1, 8, 8)


def test_a_u_net_stays_nameless_in_its_file_as_it_was(typed: Typed) -> None:
    model = load_model(typed.root / "models/teacher.safetensors")
    assert isinstance(model.network, UNet)
    assert "name" not in model.info.network


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"name": "tid"}, "params.yaml: network.name is 'tid': choose from unet, dit"),
        ({"name": 3}, "network.name is 3: choose from unet, dit"),
        ({"name": ["dit"]}, "network.name is ['dit']: did you mean 'dit'?"),
        ({"name": None}, "network.name is null: choose from unet, dit"),
        ({**DIT, "depht": 1}, "unknown key network.depht: did you mean 'depth'?"),
        ({**DIT, "patch_size": 3}, "network.patch_size 3 does not divide data.image_size 8"),
        ({**DIT, "head_channels": 3}, "network.head_channels 3 does not divide network.width 8"),
        ({**DIT, "width": 6}, "network.width: input should be a multiple of 4, got 6"),
        ({"name": "dit", "patch_size": 2}, "network.width is missing"),
        ({"name": "unet"}, "network.base_channels is missing"),
        ([], "network"),
    ],
)
def test_a_network_that_cannot_be_built_is_one_sentence(
    network: Any, said: str, typed: Typed
) -> None:
    if isinstance(network, dict):
        network = {**network, "conditional": True}
    typed.write(typed.params() | {"network": network})
    assert said in typed.refused("check")
