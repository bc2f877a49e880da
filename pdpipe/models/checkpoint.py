"""Model files: safetensors, with all metadata as one JSON text. Loading runs no code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from torch import Tensor

from pdpipe import layout
from pdpipe.errors import DamagedError, ModelError, brief
from pdpipe.files import digest_file
from pdpipe.models.info import ClassifierInfo, ModelInfo
from pdpipe.models.model import DiffusionModel
from pdpipe.networks import Classifier, ClassifierConfig, UNet, UNetConfig
from pdpipe.runtime import resolve_device
from pdpipe.tensor_files import load_tensors, save_tensors

Info = TypeVar("Info", bound=BaseModel)
Config = TypeVar("Config", UNetConfig, ClassifierConfig)
_METADATA_KEY = "pdpipe"


def save_model(path: Path, network: UNet, info: ModelInfo) -> None:
    """Write a diffusion model, atomically; equal models have equal bytes."""
    _save(path, network.state_dict(), info)


def save_classifier(path: Path, network: Classifier, info: ClassifierInfo) -> None:
    """Write the extractor's classifier, atomically; equal ones have equal bytes."""
    _save(path, network.state_dict(), info)


def load_model(path: str | Path, device: str = "auto") -> DiffusionModel:
    """The diffusion model stored at `path`, in evaluation mode on `device`.

    Raises:
        ModelError: the file is missing, damaged, or not a diffusion model of pdpipe.
    """
    path = Path(path)
    tensors, info = _load(path, ModelInfo)
    network = UNet(_config(UNetConfig, info.network, path))
    _fill(network, tensors, path)
    target = resolve_device(device)
    network.to(target).eval().requires_grad_(False)
    return DiffusionModel(network, info, target, digest_file(path))


def load_classifier(path: str | Path, device: str = "auto") -> tuple[Classifier, ClassifierInfo]:
    """The extractor stored at `path`, in evaluation mode on `device`; raises ModelError."""
    path = Path(path)
    tensors, info = _load(path, ClassifierInfo)
    network = Classifier(_config(ClassifierConfig, info.network, path))
    _fill(network, tensors, path)
    network.to(resolve_device(device)).eval().requires_grad_(False)
    return network, info


def network_config(network: UNet | Classifier) -> dict[str, object]:
    """The plain values from which the network can be rebuilt."""
    return asdict(network.config)


def _save(path: Path, tensors: dict[str, Tensor], info: BaseModel) -> None:
    save_tensors(path, tensors, _METADATA_KEY, info.model_dump(mode="json"))


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
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        wanted = "a teacher or student" if kind is ModelInfo else "an extractor"
        raise ModelError(
            f"{path} is not what is needed here ({where}: {problem['msg']}): give {wanted} made by "
            "this version"
        ) from None
    except DamagedError as error:
        raise ModelError(
            f"{path} is damaged and cannot be used ({brief(error)}): delete it and run `dvc repro` "
            "to have it again, or give another model"
        ) from None


def _config(kind: type[Config], fields: dict[str, Any], path: Path) -> Config:
    try:
        return kind(**fields)
    except TypeError as error:
        raise ModelError(
            f"{path} describes a network that this version of pdpipe cannot build ({error}): train "
            "it again, or use the version that made it"
        ) from None


def _fill(network: UNet | Classifier, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reason = brief(error, 160)
        raise ModelError(
            f"the weights in {path} do not fit the network that the file describes ({reason}): "
            "delete it and run `dvc repro`"
        ) from None
