"""Model files: safetensors, with all metadata as one JSON text. Loading runs no code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from torch import Tensor, nn

from pdpipe import layout
from pdpipe.diffusion import PARAMETERIZATIONS, Condition
from pdpipe.errors import DamagedError, ModelError, brief
from pdpipe.files import digest_file
from pdpipe.models.info import ClassifierInfo, ModelInfo, cleaned
from pdpipe.models.model import DiffusionModel
from pdpipe.networks import Classifier, ClassifierConfig, Network, UNet, network_of
from pdpipe.params import ScheduleParams
from pdpipe.registry import NETWORKS
from pdpipe.runtime import resolve_device
from pdpipe.tensor_files import load_tensors, save_tensors

Info = TypeVar("Info", bound=BaseModel)
Config = TypeVar("Config")
AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
_METADATA_KEY = "pdpipe"


def save_model(path: Path, network: Network, info: ModelInfo) -> None:
    """Write a diffusion model, atomically; equal models have equal bytes."""
    save_tensors(path, network.state_dict(), _METADATA_KEY, info.model_dump(mode="json"))


def save_classifier(path: Path, network: Classifier, info: ClassifierInfo) -> None:
    """Write the extractor's classifier, atomically; equal ones have equal bytes."""
    save_tensors(path, network.state_dict(), _METADATA_KEY, info.model_dump(mode="json"))


def load_model(path: str | Path, device: str = "auto") -> DiffusionModel:
    """The diffusion model stored at `path`, in evaluation mode on `device`.

    Raises:
        ModelError: the file is missing, damaged, or not a diffusion model of pdpipe.
    """
    path = Path(path)
    tensors, info = _load(path, ModelInfo)
    kind, sizes = _kind_of(info.network, path)
    config = _config(kind.Config, sizes, path)
    network = _filled(lambda: kind(config), tensors, path, _predict_one)
    problem = _contradiction(info, network)
    if problem is not None:
        raise _not_usable(path, problem)
    target = resolve_device(device)
    network.to(target).eval().requires_grad_(False)
    return DiffusionModel(network, info, target, digest_file(path))


def load_classifier(path: str | Path, device: str = "auto") -> tuple[Classifier, ClassifierInfo]:
    """The extractor stored at `path`, in evaluation mode on `device`; raises ModelError."""
    path = Path(path)
    tensors, info = _load(path, ClassifierInfo)
    config = _config(ClassifierConfig, info.network, path)
    network = _filled(lambda: Classifier(config), tensors, path)
    if len(info.classes) != network.config.num_classes:
        raise _not_usable(path, f"it names {len(info.classes)} classes, its network has others")
    network.to(resolve_device(device)).eval().requires_grad_(False)
    return network, info


def _maker(path: Path) -> str:
    """The command that makes a model file of the chain, or of the study in whose folder it is."""
    study = layout.study_of(path)
    return f"`pdpipe study {study}`" if study else "`dvc repro`"


def _load(path: Path, kind: type[Info]) -> tuple[dict[str, Tensor], Info]:
    if not path.is_file():
        raise ModelError(
            f"there is no model at {path}: run {_maker(path)} to train it, or `dvc pull` to fetch "
            "it"
        )
    try:
        tensors, about = load_tensors(path, _METADATA_KEY)
        return tensors, kind.model_validate(about)
    except KeyError:
        raise ModelError(f"{path} was not written by pdpipe: it has no pdpipe metadata") from None
    except ValidationError as error:
        wanted = "a teacher or student" if kind is ModelInfo else "an extractor"
        raise ModelError(
            f"{path} is not what is needed here ({_first_problem(error)}): give {wanted} made by "
            "this version"
        ) from None
    except DamagedError as error:
        raise ModelError(
            f"{path} is damaged and cannot be used ({brief(error)}): delete it and run `dvc repro` "
            "to have it again, or give another model"
        ) from None


def _kind_of(described: dict[str, Any], path: Path) -> tuple[type[Network], dict[str, Any]]:
    """The network that a file names, and its sizes; one without a name is a U-Net."""
    sizes = dict(described)
    name = sizes.pop("name", UNet.name)
    if not isinstance(name, str) or name not in NETWORKS:
        raise _cannot_build(path, f"it has no network {cleaned(str(name))!r}")
    return network_of(name), sizes


def _config(kind: type[Config], fields: dict[str, Any], path: Path) -> Config:
    try:
        return TypeAdapter(kind).validate_json(json.dumps(fields))
    except ValidationError as error:
        raise _cannot_build(path, _first_problem(error)) from None


def _filled(
    build: Callable[[], AnyNetwork],
    tensors: dict[str, Tensor],
    path: Path,
    try_out: Callable[[AnyNetwork], object] = lambda network: None,
) -> AnyNetwork:
    """The network that a file describes, with its weights.

    It is first laid out, and tried, without memory; it is built only if the file's tensors fill it.
    """
    try:
        with torch.device("meta"):
            network = build()
            try_out(network)
        layout = network.state_dict()
    except Exception as error:  # of torch's layers, which refuse sizes in many ways
        raise _cannot_build(path, brief(error, 160)) from None
    for name in sorted(layout.keys() ^ tensors.keys()):
        missing = "is missing" if name in layout else "has no place"
        raise _do_not_fit(path, f"{cleaned(name)} {missing}")
    for name, tensor in tensors.items():
        if tensor.shape != layout[name].shape:
            raise _do_not_fit(path, f"{name} has another shape")
        if not tensor.isfinite().all():
            raise _do_not_fit(path, f"{name} has values that are not finite")
    network = build()
    network.load_state_dict(tensors)
    return network


def _predict_one(network: Network) -> None:
    """The prediction of one image, which fails where the network's sizes do not fit each other."""
    config, one = network.config, torch.zeros(1)
    z_t = torch.zeros(1, config.channels, config.image_size, config.image_size)
    network(z_t, one, Condition(label=one.long(), w=one))


def _contradiction(info: ModelInfo, network: Network) -> str | None:
    """What the metadata say of a network that cannot be."""
    config = network.config
    if config.num_classes not in (0, len(info.classes)):
        return f"it names {len(info.classes)} classes, and its network has {config.num_classes}"
    if config.heads != PARAMETERIZATIONS[info.parameterization].heads:
        return f"it predicts {info.parameterization}, and its network has {config.heads} outputs"
    takes_w = network.takes_w or info.guidance == "input"
    if takes_w and info.w_max != (config.w_max if network.takes_w else 0.0):
        return f"it says that w ends at {info.w_max}, and its network was trained up to another"
    try:
        ScheduleParams.model_validate(info.schedule)
    except ValidationError as error:
        return f"its schedule cannot be used: {_first_problem(error)}"
    return None


def _not_usable(path: Path, problem: str) -> ModelError:
    return ModelError(
        f"{path} contradicts itself ({problem}): get the file again from where it was made"
    )


def _cannot_build(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path} describes a network that this version of pdpipe cannot build ({reason}): train "
        "it again, or use the version that made it"
    )


def _do_not_fit(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"the weights in {path} do not fit the network that the file describes ({reason}): "
        "delete it and run `dvc repro`"
    )


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(cleaned(str(part)) for part in problem["loc"])
    return f"{where}: {problem['msg']}"
