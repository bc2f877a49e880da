"""What others raise, the operating system above all, as one sentence of ours."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

_AGAIN = "then run the same command again"
_MENDS = {
    errno.ENOSPC: f"free some space there, {_AGAIN}",
    errno.EDQUOT: f"free some space there, {_AGAIN}",
    errno.EFBIG: f"raise the limit on the size of files, {_AGAIN}",
    errno.EROFS: "work in a folder that can be written to",
    errno.EACCES: f"allow yourself to read and to write it, {_AGAIN}",
    errno.EPERM: f"allow yourself to read and to write it, {_AGAIN}",
    errno.ENOENT: f"put it there, {_AGAIN}",
    errno.ENOTDIR: f"a file is where a folder should be: move it away, {_AGAIN}",
    errno.EEXIST: f"a file or a dead link is where a folder should be: move it away, {_AGAIN}",
    errno.EISDIR: f"a folder is where a file should be: move it away, {_AGAIN}",
    errno.EMFILE: "raise the limit on open files (`ulimit -n 4096`)",
    errno.ENOMEM: "close other programs, or make the batches smaller",
    errno.ELOOP: "a link leads to itself: remove it",
    errno.ENAMETOOLONG: "choose a shorter name",
}
# By the package that an error's class is from.
_OTHERS = {
    "dvc": "DVC", "dvc_data": "DVC", "dvc_objects": "DVC", "scmrepo": "git", "git": "git",
    "pygit2": "git", "_pygit2": "git", "dulwich": "git", "asyncssh": "git", "mlflow": "MLflow",
    "sqlalchemy": "MLflow's database", "sqlite3": "MLflow's database",
    "safetensors": "safetensors", "safetensors_rust": "safetensors",
}  # fmt: skip


def sentence_about(error: BaseException) -> str | None:
    """What is wrong, with the path where there is one; None for an error that is a bug of ours."""
    if isinstance(error, OSError):
        return _of_system(error)
    if _is_out_of_memory(error):
        return f"the memory does not suffice ({_short(error)}): {_MENDS[errno.ENOMEM]}"
    if isinstance(error, UnicodeEncodeError):
        name = error.object.encode("utf-8", "backslashreplace").decode()
        return f"{name!r} has characters that are not UTF-8: rename it"
    module = type(error).__module__
    if module.startswith(("torch._inductor", "torch._dynamo")):
        return f"torch.compile failed ({_short(error)}): set runtime.compile to false"
    other = _OTHERS.get(module.partition(".")[0])
    if other is None:
        return None
    cause = next((c for c in _causes(error) if isinstance(c, OSError) and c.filename), None)
    if cause is not None:
        return f"{other} failed: {_of_system(cause)}"
    return f"{other} failed ({_short(error)}): mend that, {_AGAIN}"


def shortened(sentence: str) -> str:
    """The same with what a user gave too much of cut in its middle."""
    return re.sub(r"\S{1000,}", lambda word: f"{word[0][:200]}…{word[0][-100:]}", sentence)


def _of_system(error: OSError) -> str:
    if error.errno is None or error.strerror is None:  # raised by a library, in its words
        return f"something cannot be read or written ({_short(error)})"
    where = "the current folder" if error.filename is None else os.fsdecode(error.filename)
    mend = _MENDS.get(error.errno, f"look at it, {_AGAIN}")
    return f"{where} cannot be used ({error.strerror}): {mend}"


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error)
    by_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in said
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and by_torch)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _short(error: BaseException) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= 160 else f"{line[:160]}…"
