"""The studies of Salimans & Ho (PD): without guidance, other ladders, what a network predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pdpipe.params import Params
from pdpipe.presets.ladders import arm, arms_of, chain_model, halvings, ladder, own_model
from pdpipe.presets.papers import GAMMAS, RATES, STEPS, Paper, weights_of
from pdpipe.presets.text import Entries, commented, number

FINE = (128, 64, 32)  # steps that are measured beside those of GD's tables
BUDGETS = {"half": 2, "fifth": 5, "tenth": 10}  # 50k updates a rung divided by it: PD, Fig. 12
PREDICTIONS = {"x": "x", "v": "v", "x_eps": "(x, eps)", "eps": "eps"}
LOSS_WEIGHTS = {"snr": "SNR", "snr_truncated": "truncated SNR", "snr_plus_one": "SNR + 1"}


def _taught(params: Params, paper: Paper, **teacher: object) -> dict[str, Any]:
    """A teacher as PD has it, which is never guided: with labels where its own has them."""
    if paper.labels:
        return {"teacher": {**teacher, "label_dropout": 0.0}}
    plain = {"network": {"conditional": False}} if params.network.conditional else {}
    return {"teacher": teacher} | plain


def unguided(params: Params, paper: Paper) -> dict[str, object]:
    """PD itself: its teacher, its start, its seeds."""
    study, steps = "unguided", (*FINE, *STEPS)
    teacher = own_model(study, "teacher")
    taught = _taught(params, paper, parameterization=paper.prediction, loss_weight="snr_truncated")
    rungs = halvings(paper.start)
    students: Entries = {}
    for seed in range(paper.seeds):
        students |= ladder(
            params, study, f"seed{seed}", teacher, rungs, teacher_steps=paper.start, seed=seed
        )
    arms = {
        "ddim": arm("teacher by DDIM", teacher, [1024, 512, 256, *steps], [0.0]),
        "ancestral": _tuned("teacher", teacher, steps[:-1]),
    }
    for n in steps[:-1]:
        arms[f"tuned-{n}"] = _tuned("student", own_model(study, f"seed0-{n}"), [n])
    arms |= arms_of(study, students, "progressive distillation", steps, [0.0])
    return {
        "seeds": paper.seeds,
        "title": "Without guidance" if paper.labels else "Without labels and guidance",
        "kind": "unguided" if paper.labels else "unconditional",
        "teachers": {"teacher": taught},
        "students": students,
        "arms": arms,
    }


def _tuned(kind: str, model: str, steps: Iterable[int]) -> dict[str, object]:
    method = f"{kind} by the tuned stochastic sampler"
    return arm(method, model, steps, [0.0], "ancestral", gammas=GAMMAS)


def ladders(params: Params, paper: Paper) -> dict[str, object]:
    """Shorter rungs, division by four, other starts and learning rates."""
    study, first = "ladders", chain_model(params.guide.steps)
    parts: list[Entries | str] = []
    arms: Entries = {}
    for remark, name, method, rungs, changes in _variants(params.guide.steps):
        made = ladder(params, study, name, first, rungs, **changes)
        parts += [remark, made]
        arms |= arms_of(study, made, method, STEPS, weights_of(params, (0.0, 1.0, 4.0)))
    return {"students": commented(*parts), "arms": arms}


def _variants(full: int) -> Iterator[tuple[str, str, str, list[int], dict[str, Any]]]:
    """(remark, name, method, step counts, what differs) of each ladder."""
    every = halvings(full)
    for name, k in BUDGETS.items():
        shorter = {"shorter": k}
        yield f"the updates of every rung ÷ {k}", name, f"budget: ÷ {k}", every, shorter
    fours = every[1::2]
    yield "one step for four of its teacher's", "four", "ladder: divided by four", fours, {}
    for top in (full // 4, full * 8):
        remark, method = f"a start at {top} steps instead of {full}", f"ladder: from {top} steps"
        yield remark, f"from{top}", method, halvings(top), {"teacher_steps": top}
    for name, rate in RATES.items():
        remark, method = f"learning rate {number(rate)}", f"learning rate: {number(rate)}"
        yield remark, name, method, every, {"rate": rate}
    for name, rate in RATES.items():
        remark = f"learning rate {number(rate)}, the updates of every rung ÷ 5"
        method = f"learning rate at budget ÷ 5: {number(rate)}"
        yield remark, f"fifth-{name}", method, every, {"rate": rate, "shorter": 5}


def parameterization(params: Params, paper: Paper) -> dict[str, object]:
    """A teacher for each prediction and loss weight, a ladder for each prediction."""
    study, full = "parameterization", params.guide.steps
    teachers: dict[str, dict[str, object]] = {}
    students: Entries = {}
    arms: Entries = {}
    for prediction, name in PREDICTIONS.items():
        key = prediction.replace("_", "-")
        for weight, called in LOSS_WEIGHTS.items():
            own, unstable = f"{key}-{weight.replace('_', '-')}", prediction == "eps"
            settings = {"parameterization": prediction, "loss_weight": weight}
            teachers[own] = _taught(params, paper, **settings, allow_unstable=unstable)
            method = f"teacher: {name}, {called}"
            arms[own] = arm(method, own_model(study, own), [full], [0.0])
        weighted = "snr" if prediction == "eps" else "snr-truncated"
        first = own_model(study, f"{key}-{weighted}")
        made = ladder(params, study, key, first, halvings(full), teacher_steps=full)
        students |= made
        arms |= arms_of(study, made, f"students: {name}", STEPS, [0.0])
    return {"full": full, "teachers": teachers, "students": students, "arms": arms}
