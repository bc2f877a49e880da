"""The studies of other ways to few evaluations: samplers without distillation, smaller students."""

from __future__ import annotations

from functools import partial

from pdpipe.params import Params, UNetParams
from pdpipe.presets.ladders import TEACHER, arms_of, chain_model, ladder
from pdpipe.presets.papers import GAMMAS, Paper, weights_of
from pdpipe.presets.text import Entries

BUDGETS = (2, 4, 8, 16, 32, 64, 128)  # the last three: 16, 32 and 64 steps of a guided teacher
QUARTERS = {"full": 4, "three": 3, "two": 2, "one": 1}  # of the teacher's channels
UPDATES = 100_000  # the most that the papers give to a student


def baselines(params: Params, paper: Paper) -> dict[str, object]:
    """Samplers of the teacher, and the tuned one of the students."""
    at = {"nfe": BUDGETS, "w": weights_of(params)}
    arms: Entries = {
        "ancestral": {"model": TEACHER, "sampler": "ancestral", "gammas": GAMMAS, **at},
        "respaced": {
            "model": TEACHER, "sampler": "ancestral", "gammas": (0.0, 1.0), "grid": "ddpm", **at,
        },
        "heun": {"model": TEACHER, "sampler": "heun", **at},
        "dpm_solver": {"model": TEACHER, "sampler": "dpm_solver", **at},
    }  # fmt: skip
    for n in (2, 4, 8, 16):
        own = {"model": chain_model(n), "nfe": (n,)}
        arms[f"student-{n}"] = {**arms["ancestral"], **own}
    return {"arms": arms}


def smaller_student(params: Params, paper: Paper) -> dict[str, object]:
    """Students with a share of the teacher's channels, from the chain's student of 8 steps."""
    make = partial(ladder, params, "smaller-student", first=chain_model(8), steps=(4, 2, 1))
    students: Entries = {}
    arms: Entries = {}
    network = params.network
    assert isinstance(network, UNetParams), "presets have no other"
    assert network.norm_groups is not None, "presets name it"
    for name, quarters in QUARTERS.items():
        rungs = make(name=name, updates=UPDATES)
        method = "as large as its teacher"
        if quarters < 4:
            rungs[f"{name}-4"]["network"] = {
                "base_channels": network.base_channels * quarters // 4,
                "head_channels": network.head_channels * quarters // 4,
                "norm_groups": network.norm_groups * quarters // 4,
            }
            method = f"channels × {quarters}/4"
        students |= rungs
        w = weights_of(params, (0.0, 1.0, 4.0))
        arms |= arms_of("smaller-student", rungs, method, (4, 2, 1), w)
    return {"channels": network.base_channels, "students": students, "arms": arms}
