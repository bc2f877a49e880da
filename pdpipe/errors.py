"""The errors a user can cause: each message says what is wrong, where, and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [  # what calls from Python raise; the pipeline has more
    "DataError",
    "EvaluationError",
    "ModelError",
    "ParamsError",
    "PdpipeError",
    "SamplerError",
]


class PdpipeError(Exception):
    """Base of every error a user can cause; the CLI prints it as one sentence and exits with 2.

    Examples:
        >>> try:
        ...     pdpipe.load("models/student-4.safetensors").sample(labels=12)
        ... except pdpipe.errors.PdpipeError as error:
        ...     print(error)
        label 12 is not a class of student-4: it has 10, numbered 0 to 9
    """


class ParamsError(PdpipeError):
    """params.yaml, or a command's option, does not say something that can be run.

    Examples:
        >>> pdpipe.load("models/student-4.safetensors", device="tpu")
        Traceback (most recent call last):
        pdpipe.errors.ParamsError: runtime.device (or PDPIPE_DEVICE, --device) is ...
    """


class DataError(PdpipeError):
    """A source, a shard or an image cannot be read.

    Examples:
        >>> pdpipe.to_pil(torch.zeros(8, 8))
        Traceback (most recent call last):
        pdpipe.errors.DataError: images are (n, C, H, W) with 1 or 3 channels, ...
    """


class ModelError(PdpipeError):
    """A model file is missing, damaged, or asked for something it was not trained for.

    Examples:
        >>> pdpipe.load("models/student-3.safetensors")
        Traceback (most recent call last):
        pdpipe.errors.ModelError: there is no model at models/student-3.safetensors: ...
    """


class SamplerError(PdpipeError):
    """A sampler's settings, its grid or its generators cannot be used.

    Examples:
        >>> pdpipe.diffusion.uniform_grid(0)
        Traceback (most recent call last):
        pdpipe.errors.SamplerError: the number of steps is 0: use a whole number, 1 or more
    """


class TrainingError(PdpipeError):
    """A training run cannot start, resume or go on."""


class EvaluationError(PdpipeError):
    """A measurement cannot be made from what there is.

    Examples:
        >>> one = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
        >>> pdpipe.metrics.fid(one, one, extractor="digits-cnn")
        Traceback (most recent call last):
        pdpipe.errors.EvaluationError: ... FID needs the covariance of at least 2 samples, ...
    """


class StudyError(PdpipeError):
    """A study, a DVC project of its own, cannot be made or run."""


class ProjectError(PdpipeError):
    """A project cannot be made, or is for another version of the package."""


class RevisionError(PdpipeError):
    """A revision, or a report that was kept, is not there or cannot be read."""


class DamagedError(PdpipeError):
    """A file of ours is not as it was written; `reason` says in a few words how that was seen."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason}): delete it and run the command again")
        self.reason = reason


def brief(error: Exception, length: int = 120) -> str:
    """What an error says, as the part of a sentence: on one line, no longer than `length`."""
    said = error.reason if isinstance(error, DamagedError) else str(error)
    return " ".join(said.split())[:length] or type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the list of known names when none is close.

    Args:
        name: what the user wrote.
        known: every accepted name, in the order in which to list them.
    """
    names = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(names)}"


def counted(number: int, what: str) -> str:
    """`1 step`, `4 steps`, `1,500 images`."""
    return f"{number:,} {what}{'s' * (number != 1)}"
