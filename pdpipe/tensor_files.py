"""Files of tensors: safetensors that carry a digest of all they hold, which reading checks.

All else that belongs to the tensors is one JSON object, the file's only metadata (safetensors
writes several in any order), in which the digest stands as `sha256`. Reading runs no code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pdpipe.errors import DamagedError, brief
from pdpipe.files import canonical_json, parse_json, replacing

_DIGEST = "sha256"


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], key: str, about: dict[str, Any]
) -> None:
    """Write tensors, and beside them `about`, atomically; equal ones give equal bytes.

    Args:
        path: the file.
        tensors: of any device.
        key: of the file's metadata, which says whose file it is.
        about: plain JSON values; none is called sha256.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = {**about, _DIGEST: digest_tensors(on_cpu, about)}
    with replacing(path) as temporary:
        save_file(on_cpu, temporary, {key: json.dumps(sealed)})


def load_tensors(
    path: Path, key: str, *, must_have_digest: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file, on the CPU, and what stands beside them.

    Args:
        path: the file.
        key: of its metadata.
        must_have_digest: refuse a file without one, as earlier versions wrote them.

    Raises:
        FileNotFoundError: there is none.
        KeyError: it is a file of tensors, but has no such metadata.
        DamagedError: it cannot be read, or holds something else than what was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[key]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = parse_json(text)
        digest = about.pop(_DIGEST, None)
    except (FileNotFoundError, KeyError):
        raise
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise DamagedError(path, brief(e)) from None
    if (digest is not None or must_have_digest) and digest != digest_tensors(tensors, about):
        raise DamagedError(path, "its checksum does not match")
    return tensors, about


def digest_tensors(tensors: Mapping[str, Tensor], about: dict[str, Any] | None = None) -> str:
    """sha256 (hex) of what stands beside tensors on the CPU, their names, types, shapes, bytes."""
    found = hashlib.sha256()
    if about is not None:
        found.update(canonical_json(about).encode() + b"\n")
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # not copied
    return found.hexdigest()
