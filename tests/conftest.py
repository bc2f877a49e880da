"""One thread, a clean environment, the digits, and tiny networks whose outputs are not all zero."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import yaml
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from pdpipe.data import ImageSet, load_split
from pdpipe.models import DiffusionModel, ModelInfo
from pdpipe.networks import UNet, UNetConfig
from pdpipe.params import DataParams, Params, parse_params
from pdpipe.sources import open_source, write_shards

if TYPE_CHECKING:
    from xdist.remote import Producer

settings.register_profile("shared cores", deadline=None)  # of what is slow beside other work
settings.load_profile("shared cores")
ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "pdpipe" / "presets" / "digits.yaml"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for all the tests; none beside this one, which starts sooner, for a part."""
    return 2 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def folder_of(nodeid: str) -> str:
    """The folder of tests/, or the file in it, to which a test belongs."""
    return nodeid.split("::")[0].split("/")[1]


class FolderScheduling(LoadScopeScheduling):
    """Each folder's tests in one process, which makes once what they need for a session."""

    def _split_scope(self, nodeid: str) -> str:
        return folder_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FolderScheduling:
    """See FolderScheduling."""
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that both processes end at about the same time."""
    longest = ("pipeline", "tracking", "training")

    def place(item: pytest.Item) -> int:
        folder = folder_of(item.nodeid)
        return longest.index(folder) if folder in longest else len(longest)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def one_quiet_thread() -> Iterator[None]:
    """One thread, for speed and the same bits; no runtime setting of the caller's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith("PDPIPE_"):
                environment.delenv(name)
        yield
    torch.set_num_threads(before)


@pytest.fixture
def raw() -> dict[str, Any]:
    """The digits preset as parsed YAML, free to be changed."""
    return yaml.safe_load(DIGITS.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as shards; tests must not change them."""
    settings = DataParams.model_validate(yaml.safe_load(DIGITS.read_text(encoding="utf-8"))["data"])
    folder = tmp_path_factory.mktemp("digits-shards")
    write_shards(open_source(settings), settings, seed=0, out_dir=folder)
    return folder


@pytest.fixture(scope="session")
def digits(shards: Path) -> ImageSet:
    """The training split of the digits."""
    return load_split(shards, "train")


@pytest.fixture(scope="session")
def heldout_digits(shards: Path) -> ImageSet:
    """The held-out split of the digits."""
    return load_split(shards, "heldout")


MakeUNet = Callable[..., UNet]
TINY: dict[str, Any] = {
    "image_size": 8,
    "channels": 1,
    "num_classes": 10,
    "base_channels": 8,
    "channel_multipliers": [1, 1],
    "blocks_per_level": 1,
    "attention_resolutions": [4],
    "head_channels": 8,
    "embedding_channels": 16,
    "resample_blocks": False,
    "norm_groups": 2,
}


def randomised(network: UNet, seed: int) -> UNet:
    """The network with every weight drawn anew, so that no branch of it is zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 4
            spread = 1.5 if name.startswith("embed_label") else 1.3 * fan**-0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return network


@pytest.fixture(scope="session")
def make_unet() -> MakeUNet:
    """A tiny U-Net with the given fields of its config changed, drawn from `seed`, training off."""

    def make(seed: int = 0, **changes: Any) -> UNet:
        network = randomised(UNet(UNetConfig(**(copy.deepcopy(TINY) | changes))), seed)
        return network.eval().requires_grad_(False)

    return make


def info_of(network: UNet, **changes: Any) -> ModelInfo:
    """The metadata that belongs to a network, with the given fields changed."""
    student = network.config.w_frequencies > 0
    values: dict[str, Any] = {
        "kind": "student" if student else "teacher",
        "guidance": "input" if student else "mixture",
        "sampler": "ddim",
        "name": "student-4" if student else "teacher",
        "network": vars(network.config).copy(),
        "schedule": {"name": "cosine", "log_snr_min": -20.0, "log_snr_max": 20.0},
        "parameterization": "v",
        "steps": 4 if student else None,
        "w_min": 0.0,
        "w_max": network.config.w_max if student else None,
        "classes": [str(k) for k in range(max(network.config.num_classes, 1))],
        "provenance": {"seed": 0},
    }
    return ModelInfo.model_validate(values | changes)


@pytest.fixture(scope="session")
def make_model(make_unet: MakeUNet) -> Callable[..., DiffusionModel]:
    """A tiny random model in memory: fields of its config as `network`, of its metadata as rest."""

    def make(network: dict[str, Any] | None = None, seed: int = 0, **info: Any) -> DiffusionModel:
        unet = make_unet(seed, **(network or {}))
        return DiffusionModel(unet, info_of(unet, **info), torch.device("cpu"), "00" * 32)

    return make


@pytest.fixture
def tiny_params(raw: dict[str, Any]) -> Params:
    """Params of a chain so small that each of its trainings takes a second or less."""
    raw["network"] |= {"base_channels": 8, "head_channels": 8, "embedding_channels": 16}
    for section in ("teacher", "guide", "halve"):
        raw[section] |= {"batch_size": 8, "warmup": 2}
    raw["teacher"] |= {"updates": 30}
    raw["guide"] |= {"steps": 4, "updates": 30}
    raw["ladder"] = {
        "2": {"from": "4", "updates": 30, "learning_rate": 1e-3},
        "1": {"from": "2", "updates": 30, "learning_rate": 1e-3},
    }
    raw["extractor"] |= {
        "source": "train",
        "updates": 30,
        "batch_size": 16,
        "features": 32,
        "min_accuracy": 0.0,
    }
    raw["runtime"] |= {"device": "cpu", "threads": 1}
    return parse_params(raw)
