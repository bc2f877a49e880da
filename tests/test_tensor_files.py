"""Files of tensors: the same bits back, and no flipped bit that goes unseen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdpipe.errors import DamagedError, brief
from pdpipe.files import read_sealed, write_sealed
from pdpipe.tensor_files import load_tensors, save_tensors

ABOUT = {"seconds": 1.5, "w": [0.0, 1.0], "names": ["é", "b"], "none": None}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "transposed": torch.randn(3, 4).T,
        "bytes": torch.arange(7, dtype=torch.uint8),
        "half": torch.randn(3).bfloat16(),
        "number": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 2),
    }


@pytest.fixture
def path(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    save_tensors(tmp_path / "some.safetensors", tensors, "mine", ABOUT)
    return tmp_path / "some.safetensors"


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
        for name, tensor in expected.items()
    )


def test_round_trip(path: Path, tensors: dict[str, Tensor]) -> None:
    found, about = load_tensors(path, "mine", must_have_digest=True)
    assert about == ABOUT
    assert same(found, tensors)
    save_tensors(path.with_name("again"), found, "mine", about)
    assert path.with_name("again").read_bytes() == path.read_bytes()


def test_every_flipped_bit_is_seen_or_changes_nothing(
    path: Path, tensors: dict[str, Tensor]
) -> None:
    whole, unseen = path.read_bytes(), 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found, about = load_tensors(path, "mine", must_have_digest=True)
        except (DamagedError, KeyError):
            continue
        unseen += 1
        assert about == ABOUT
        assert same(found, tensors)
    assert unseen < 20  # spaces of the header


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "3", '{"sha256": 3}', "", '{"a": 1e999}'])
def test_metadata_that_are_none_of_ours(text: str, tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "other", {"mine": text})
    with pytest.raises(DamagedError):
        load_tensors(tmp_path / "other", "mine", must_have_digest=True)


def test_other_peoples_files(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "other", {"theirs": json.dumps(ABOUT)})
    with pytest.raises(KeyError):
        load_tensors(tmp_path / "other", "mine")
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "none", "mine")
    with pytest.raises(
        DamagedError, match=r"is damaged \(.*\): delete it and run the command again"
    ):
        load_tensors(tmp_path, "mine")


def test_sealed_bytes(tmp_path: Path) -> None:
    path, content = tmp_path / "sealed", os.urandom(300)
    write_sealed(path, content)
    whole = path.read_bytes()
    assert read_sealed(path) == content
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedError) as raised:
            read_sealed(path)
        assert brief(raised.value) == "its checksum does not match"
    for kept in (0, 10, 79, 200):
        path.write_bytes(whole[:kept])
        with pytest.raises(DamagedError):
            read_sealed(path)
