"""Atomic replacing, and digests of values, files and folders."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pdpipe.files import (
    canonical_json,
    digest,
    digest_file,
    digest_paths,
    replacing,
    sealed,
    unsealed,
    write_json,
    write_text,
)

ROOT = Path(__file__).parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replacing_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "model.bin"
    with replacing(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists(), "nobody sees a half"
        assert temporary.parent == path.parent, "another file system could not be renamed from"
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["model.bin"]


def test_replacing_swaps_old_for_new_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["model.bin"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half")
            raise kind

    with pytest.raises(kind):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model.bin"]


def test_a_failure_before_anything_is_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"

    def fail() -> None:
        with replacing(path):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert names(tmp_path) == []


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from pdpipe.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_text(path, "new")
    assert path.read_text() == "new"


def test_files_are_as_readable_as_the_user_wants_them(tmp_path: Path) -> None:
    """safetensors writes files that only their owner may read."""
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            with replacing(tmp_path / "model.safetensors") as temporary:
                save_file({"a": np.ones(1, np.float32)}, temporary)
        finally:
            assert os.umask(before) == mask
        assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == mode


def test_json_files_are_readable_and_end_in_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"name": "größe", "fid": [1.5, 2]})
    assert path.read_text(encoding="utf-8").endswith("}\n")
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "größe", "fid": [1.5, 2]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"fid": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["fid"] == [1.5, 2]


def test_canonical_json_is_one_text_for_equal_values() -> None:
    assert canonical_json({"b": 1, "a": [1.0, None]}) == '{"a":[1.0,null],"b":1}'
    assert canonical_json({"a": [1.0, None], "b": 1}) == canonical_json({"b": 1, "a": (1.0, None)})


def test_digest_is_sha256_of_that_text() -> None:
    expected = hashlib.sha256(b'{"a":1}').hexdigest()
    assert digest({"a": 1}) == expected
    assert len({digest(value) for value in ({"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": [1]})}) == 4


def test_digest_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(range(256)) * 10_000)
    assert digest_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_digest_of_folders_skips_byte_code_and_hidden_files(tmp_path: Path) -> None:
    package, alone = tmp_path / ".hidden root" / "package", tmp_path / "seeds.py"
    for name in ("b.py", "a/c.py", "a/__pycache__/c.pyc", ".secret", ".cache/d.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    alone.write_text("seeds")
    found = digest_paths([package, alone])
    assert found == {
        path.as_posix(): digest_file(path)
        for path in sorted([package / "a/c.py", package / "b.py", alone])
    }
    assert list(found) == sorted(found)
    (package / "a/c.py").write_text("changed")
    assert digest_paths([package, alone]) != found


def test_a_sealed_mapping_notices_every_change() -> None:
    value = {"name": "a", "cells": [{"fid": 0.1}], "shape": (1, 2), "seed": 3}
    text = json.dumps(sealed(value))
    assert unsealed(json.loads(text)) == json.loads(json.dumps(value))
    for position, old in enumerate(text):
        if not old.isalnum() or text[:position].endswith("\\"):
            continue
        new = "1" if old != "1" else "2"
        changed = text[:position] + new + text[position + 1 :]
        try:
            found = json.loads(changed)
        except ValueError:
            continue
        if "sha256" in found:
            with pytest.raises(ValueError, match="its checksum does not match"):
                unsealed(found)
        else:  # the key itself, which whoever reads the mapping does not know
            assert set(unsealed(found)) - set(value)


@pytest.mark.parametrize("value", [None, [], "a", 3])
def test_what_is_no_mapping_was_not_sealed(value: object) -> None:
    with pytest.raises(ValueError, match="it is no mapping"):
        unsealed(value)
