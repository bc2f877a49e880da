"""Networks that begin with the weights of another, of the same size or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pdpipe.networks import Network


def fitted(teacher: Network, changes: Mapping[str, Any]) -> Network:
    """A network with other sizes, which starts with what fits of the teacher's weights.

    The first channels of a wider tensor fill a narrower one; layers that the student lacks are
    left out, and what the teacher lacks keeps its random start. Parts that lie behind each other
    in one tensor (queries, keys and values; scales and shifts) are not told apart: of a narrower
    student these begin with whatever comes first.
    """
    student = type(teacher)(replace(teacher.config, **changes))
    ours = student.state_dict()
    for name, theirs in teacher.state_dict().items():
        if name in ours and ours[name].dim() == theirs.dim():
            shared = [slice(min(a, b)) for a, b in zip(ours[name].shape, theirs.shape, strict=True)]
            ours[name][tuple(shared)] = theirs[tuple(shared)]
    return student


def with_w(teacher: Network, w_frequencies: int, w_max: float) -> Network:
    """The teacher's network with an embedding of w added, its weights the teacher's.

    The embedding's last layer is zero: the student is the conditional teacher at every w.
    """
    return fitted(teacher, {"w_frequencies": w_frequencies, "w_max": w_max, "dropout": 0.0})
