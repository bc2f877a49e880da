"""Writing files so that a kill never leaves half of one, and digests of what is in them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pdpipe.errors import DamagedError

_SEAL = b"pdpipe sha256 "  # how a sealed file begins; the digest of the rest and a newline follow
_SEAL_LENGTH = len(_SEAL) + 64 + 1
_DIGEST = "sha256"  # the key of a sealed mapping's digest


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, atomically, when the block succeeds.

    Raises:
        OSError: it cannot be written; the error has `path` as its filename.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        number = _of_writing(error, temporary)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _of_writing(error: Exception, temporary: Path) -> int | None:
    """The number of the system's error, if it is one of writing to `temporary`."""
    if isinstance(error, OSError):
        own = error.filename is None or os.fspath(error.filename) == os.fspath(temporary)
        return error.errno if own else None
    said = re.search(r"\(os error (\d+)\)", str(error))  # by a writer in Rust
    return None if said is None else int(said[1])


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one atomic step, making its folder."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Write `content` below a line with its digest, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(_SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n")
        file.write(content)


def read_sealed(path: Path) -> memoryview:
    """What `write_sealed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: it is not as it was written.
    """
    whole = memoryview(path.read_bytes())
    content = whole[_SEAL_LENGTH:]
    seal = _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"
    if whole[:_SEAL_LENGTH] != seal:
        raise DamagedError(path, "its checksum does not match")
    return content


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` (plain JSON data) and, under the key sha256, the digest of the rest."""
    return {**value, _DIGEST: digest(value)}


def unsealed(value: Any) -> dict[str, Any]:
    """What `sealed` was given; without a digest, an earlier version wrote it, and it passes.

    Raises:
        ValueError: it is no mapping, or not as it was written.
    """
    if not isinstance(value, dict):
        raise ValueError("it is no mapping of keys to values")
    content = {key: item for key, item in value.items() if key != _DIGEST}
    if _DIGEST in value and value[_DIGEST] != digest(content):
        raise ValueError("its checksum does not match")
    return content


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; whatever is wrong with it, deep nesting too, is a ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: keys sorted, no spaces; equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(value: Any) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest (hex) of the bytes of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def digest_paths(paths: Iterable[Path]) -> dict[str, str]:
    """sha256 of each file, folders walked through; byte code and hidden files are left out.

    Returns:
        {posix path: hex digest}, sorted by path.
    """
    found: dict[str, str] = {}
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            relative = file.relative_to(path) if path.is_dir() else Path(file.name)
            if "__pycache__" in relative.parts or any(p.startswith(".") for p in relative.parts):
                continue
            found[file.as_posix()] = digest_file(file)
    return dict(sorted(found.items()))
