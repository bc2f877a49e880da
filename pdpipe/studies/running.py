"""Running a study: first what it needs of the chain by the root's DVC, then its own pipeline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pdpipe.errors import StudyError
from pdpipe.studies.project import make_project


def run_study(
    study: str, stages: Iterable[str], *, encoders: bool = False, pull: bool = False
) -> None:
    """Bring stages of the chain up to date, then the study.

    Args:
        study: its name.
        stages: of the root's dvc.yaml, whose outputs the study uses.
        encoders: whether the study reconstructs images, instead of measuring models.
        pull: take what is in the remote from there, instead of making it.

    Raises:
        StudyError: the study's project cannot be made, or a `dvc repro` fails.
    """
    folder = make_project(study, encoders=encoders)
    steps = {
        "what the study needs of the chain": ([*stages], Path()),
        "the study's own stages": ([], folder),
    }
    for what, (names, place) in steps.items():
        command = " ".join(["dvc repro", *names])
        print(f"{what}: {command} in {place.resolve()}", flush=True)
        if _repro(names, place, pull):
            raise StudyError(
                f"`dvc repro` of {what} failed, see above: mend that, and run "
                f"`pdpipe study {study}` again, which goes on from there"
            )


def _repro(stages: list[str], folder: Path, pull: bool) -> int:
    """Exit code of `dvc repro` in a folder, with this environment's programs on its PATH.

    Raises:
        KeyboardInterrupt: after DVC ended, which the terminal interrupted too.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "dvc", "repro", *["--pull"] * pull, *stages]
    with _waiting_for_children() as interrupted:
        code = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}).returncode
    if interrupted:
        raise KeyboardInterrupt
    return code


@contextmanager
def _waiting_for_children() -> Iterator[list[int]]:
    """Collects interrupts instead of dying of them: a stage saves its snapshot, and DVC waits."""
    interrupted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
