"""The studies of Meng et al. (GD): stochastic students, encoders, two students, one for each w.

Their appendix C trains all of them as in its section C.3: from 1024 DDIM steps, 50k updates a
halving and 100k at 2 and 1 steps. These numbers stand in the preset's own ladder.
"""

from __future__ import annotations

from pdpipe.params import Params
from pdpipe.presets.ladders import (
    TEACHER,
    arm,
    arms_of,
    chain_model,
    halvings,
    ladder,
    own_model,
)
from pdpipe.presets.papers import STEPS, Paper, weights_of
from pdpipe.presets.text import Entries, commented


def stochastic(params: Params, paper: Paper) -> dict[str, object]:
    """Algorithm 3, from as many steps as the ladder starts with."""
    study, full, w = "stochastic", params.guide.steps, params.evaluation.w
    rungs = [full, *halvings(full, 2)]
    students = ladder(params, study, study, chain_model(full), rungs, algorithm="stochastic")
    arms: Entries = {}
    for n in STEPS[:-1]:
        model, steps = own_model(study, f"stochastic-{n}"), [n] if n > 2 else [2, 1]
        arms[f"stochastic-{n}"] = arm("stochastic student", model, steps, w, "stochastic")
    method = "stochastic student by DDIM (a mismatch)"
    arms["mismatch-s"] = arm(method, own_model(study, "stochastic-4"), [4], w)
    method = "deterministic student by the stochastic sampler (a mismatch)"
    arms["mismatch-d"] = arm(method, chain_model(4), [4], w, "stochastic")
    return {"full": full, "students": students, "arms": arms}


def naive(params: Params, paper: Paper) -> dict[str, object]:
    """Algorithm 5, from the guided teacher itself."""
    full = params.guide.steps
    students = ladder(
        params, "naive", "naive", TEACHER, halvings(full), algorithm="naive", teacher_steps=full
    )
    measured = (256, 128, 64, *STEPS)  # GD, Table 3
    arms = arms_of("naive", students, "two students", measured, weights_of(params))
    return {"students": students, "arms": arms}


def single_w(params: Params, paper: Paper) -> dict[str, object]:
    """Stages one and two at each w of its own."""
    students: list[Entries | str] = []
    arms: Entries = {}
    for w in weights_of(params):
        made = _students_of(params, f"w{w:g}".replace(".", ""), w)
        if not w:
            students.append("at w = 0 the guided teacher is the conditional one: no stage one")
        students.append(made)
        arms |= arms_of("single-w", made, "a student of each w", STEPS, [w])
    return {"students": commented(*students), "arms": arms}


def _students_of(params: Params, name: str, w: float) -> Entries:
    full, guide = params.guide.steps, params.guide
    if not w:
        return ladder(params, "single-w", name, TEACHER, halvings(full), teacher_steps=full)
    first = ladder(
        params, "single-w", name, TEACHER, [full], algorithm="guide",
        updates=guide.updates, rate=guide.learning_rate, guide={"w_min": w, "w_max": w},
    )  # fmt: skip
    model = own_model("single-w", f"{name}-{full}")
    return first | ladder(params, "single-w", name, model, halvings(full))


def encoder(params: Params, paper: Paper) -> dict[str, object]:
    """Algorithm 4, reconstruction and style transfer."""
    full, first = params.guide.steps, chain_model(params.guide.steps)
    students = ladder(params, "encoder", "encoder", first, halvings(full), algorithm="encoder")
    steps = [*reversed(STEPS), full]
    encoders = {f"distilled-{n}": _encoding("distilled encoder", _encoder(n), [n]) for n in STEPS}
    encoders["teacher"] = _encoding("teacher's DDIM reversed", TEACHER, steps)
    encoders["guided"] = _encoding("stage-one student's DDIM reversed", first, steps)
    decoder: dict[str, object] = {"model": chain_model(16), "steps": 16}
    decoders: Entries = {"student": decoder, "teacher": {"model": TEACHER, "steps": full}}
    return {
        "students": students,
        "encoders": encoders,
        "decoders": decoders,
        "pairs": paper.pairs,
        "classes": paper.classes,
        "w": weights_of(params),
        "encoder": {"model": _encoder(16), "steps": 16},
        "decoder": decoder,
    }


def _encoder(steps: int) -> str:
    return own_model("encoder", f"encoder-{steps}")


def _encoding(method: str, model: str, steps: list[int]) -> dict[str, object]:
    return {"method": method, "model": model, "steps": steps}
