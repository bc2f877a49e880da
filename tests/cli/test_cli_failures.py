"""What the system, git and DVC refuse is one sentence; output that is lost ends no stage."""

from __future__ import annotations

import errno
import os
import resource
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from pdpipe.cli.failures import sentence_about, shortened
from pdpipe.files import replacing, write_text

if TYPE_CHECKING:
    from conftest import Typed

# A disk that takes no more is stood in for by a limit on the size of files: a write fails midway.


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


LIMIT = "raise the limit on the size of files, then run the same command again"


@pytest.mark.parametrize(
    ("command", "size", "path", "mend"),
    [
        ("prepare", 2000, "data/shards/", LIMIT),
        ("extractor", 2000, "models/extractor.safetensors", LIMIT),
        ("report", 3000, "reports/", LIMIT),
        ("sample --model models/student-2.safetensors --out a.png", 100, "a.png", "name another"),
    ],
)
def test_a_disk_that_takes_no_more(
    typed: Typed, command: str, size: int, path: str, mend: str
) -> None:
    with files_of_at_most(size):
        printed = typed.run(*command.split())
    assert printed.code == 2
    last = printed.err.splitlines()[-1]
    assert last.startswith(f"error: {path}")
    assert f"(File too large): {mend}" in last
    assert "Traceback" not in printed.err
    assert not [name for name in typed.contents() if name.endswith(".tmp")]


def test_places_where_nothing_can_be_written(typed: Typed) -> None:
    shutil.rmtree(typed.root / "models")
    (typed.root / "models").write_text("a file")
    assert "error: models" in typed.run("extractor").err.splitlines()[-1]
    (typed.root / "models").unlink()
    (typed.root / "models").symlink_to("/proc/self")  # which takes no files, not even root's
    assert "error: models/extractor.safetensors cannot be used" in typed.run("extractor").err
    (typed.root / "models").unlink()
    (typed.root / "models").symlink_to("models")
    assert "a file or a dead link is where a folder should be" in typed.run("extractor").err


def test_a_write_that_fails_names_the_file_that_was_meant(tmp_path: Path) -> None:
    def by_python(path: Path) -> None:
        path.write_bytes(b"0" * 5000)

    def by_rust(path: Path) -> None:
        save_file({"zeros": torch.zeros(5000)}, path)

    for write in (by_python, by_rust):
        path = tmp_path / f"{write.__name__}.bin"
        with files_of_at_most(100), pytest.raises(OSError, match="File too large") as caught:  # noqa: SIM117
            with replacing(path) as temporary:
                write(temporary)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "new"):
        (tmp_path / "old").read_text()
    assert caught.value.filename == str(tmp_path / "old")


def system(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class DvcException(Exception):
    """A stand-in of DVC's, by its module."""

    __module__ = "dvc.exceptions"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (system(errno.ENOSPC, "a/b"), "a/b cannot be used (No space left on device): free some"),
        (system(errno.EROFS, "a"), "a cannot be used (Read-only file system): work in a folder"),
        (system(errno.EACCES, "a"), "a cannot be used (Permission denied): allow yourself"),
        (system(errno.EIO, "a"), "a cannot be used (Input/output error): look at it, then run"),
        (system(errno.ENOSPC), "the current folder cannot be used (No space left on device)"),
        (OSError("image file is cut"), "something cannot be read or written (image file is cut)"),
        (DvcException("failed\n to lock"), "DVC failed (failed to lock): mend that, then run"),
        (caused(DvcException("no"), system(errno.EACCES, "c")), "DVC failed: c cannot be used ("),
        (MemoryError(), "the memory does not suffice (MemoryError): close other programs"),
        (RuntimeError("x: can't allocate memory: y"), "the memory does not suffice (x: can't"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "no"), r"'a\\udcff' has characters that"),
        (RuntimeError("shapes differ"), None),
        (ValueError("a bug"), None),
    ],
)
def test_what_is_said_of_an_error(error: Exception, sentence: str | None) -> None:
    said = sentence_about(error)
    assert said is None if sentence is None else said is not None and said.startswith(sentence)


# Output.


def typed_in_a_shell(folder: Path, line: str, **environment: str) -> tuple[int, str]:
    """(exit code, what came out) of a line of bash, in which `pdpipe` is this checkout's."""
    pdpipe = f"pdpipe() {{ '{sys.executable}' -c 'from pdpipe.cli import main; main()' \"$@\"; }}"
    done = subprocess.run(
        ["bash", "-c", f"{pdpipe}; {line}"],
        cwd=folder,
        env={**os.environ, "PDPIPE_TRACKING": "off", **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("pdpipe check --done done | true; exit ${PIPESTATUS[0]}", ""),
        ("pdpipe check --done done >&-", ""),
        ("pdpipe check --done done >&- 2>&-", ""),
        ("pdpipe check --done done 2>/dev/full >/dev/full", ""),
        (
            "pdpipe check --done done >/dev/full",
            "note: what was printed could not be written (No space left on device)\n",
        ),
    ],
)
def test_output_that_nobody_takes_ends_nothing(typed: Typed, line: str, output: str) -> None:
    assert typed_in_a_shell(typed.root, line) == (0, output)
    assert (typed.root / "done").is_file()


def test_output_that_the_terminal_cannot_encode_is_shown_by_its_code(typed: Typed) -> None:
    text = (typed.root / "params.yaml").read_text(encoding="utf-8")
    write_text(typed.root / "params.yaml", text.replace("source: digits", "source: дigits"))
    code, output = typed_in_a_shell(typed.root, "pdpipe check", PYTHONIOENCODING="ascii")
    assert (code, output) == (
        2,
        "error: params.yaml: data.source is '\\u0434igits': did you mean 'digits'?\n",
    )


def test_a_report_that_ascii_cannot_encode_is_printed_all_the_same(typed: Typed) -> None:
    (typed.root / "дом").mkdir()
    line = "pdpipe preset digits --out дом/params.yaml"
    code, output = typed_in_a_shell(typed.root, line, PYTHONIOENCODING="ascii")
    assert (code, output.splitlines()[0]) == (
        0,
        r"wrote \u0434\u043e\u043c/params.yaml: the digits preset",
    )


def test_what_a_stage_says_arrives_at_once() -> None:
    """Through a pipe, as under `dvc repro`: whoever waits for a stage reads why."""
    code = (
        "import sys, time; from pdpipe.cli.streams import lasting_output\n"
        "with lasting_output(): print('said', file=sys.stderr); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        ready, _, _ = select.select([process.stderr], [], [], 20)
        process.kill()
        assert ready
        assert process.stderr.readline() == "said\n"


def test_a_sentence_does_not_repeat_a_very_long_argument() -> None:
    path = "/somewhere/" + "a" * 300
    assert (
        shortened(f"there is no model at {path}: run it") == f"there is no model at {path}: run it"
    )
    said = shortened(f"there is no model at {'b' * 100_000}: run it")
    assert said == f"there is no model at {'b' * 200}…{'b' * 99}:" + " run it"
