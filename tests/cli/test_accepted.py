"""What `pdpipe check` accepts runs through every stage; what it refuses is one sentence."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pdpipe.errors import ParamsError
from pdpipe.params import parse_params

if TYPE_CHECKING:
    from conftest import Typed

HELPERS = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
EDGE = (0, 1, 2, -1, 10**9, 10**10, 10**30)
EDGE_FLOATS = (0.0, -0.0, 5e-324, 1e-9, 0.5, 1.0, 1e9, 1e308, float("inf"), float("nan"))


def numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], type]]:
    """The places of every number in parsed params, and whether it is whole."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for key, item in enumerate(value) for found in numbers(item, (*path, key))]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return []
    return [(path, type(value))]


def put(params: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    place: Any = params
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value


def accepted(params: dict[str, Any]) -> bool:
    try:
        parse_params(params)
    except ParamsError:
        return False
    return True


def test_no_number_of_params_is_without_an_end() -> None:
    """Whole numbers end below what overflows, all others below what is no use of theirs."""
    params = HELPERS["tiny_params"]()
    free = []
    for path, kind in numbers(params):
        for value in (10**30,) if kind is int else (1e300, float("inf"), float("nan")):
            changed = copy.deepcopy(params)
            put(changed, path, value)
            if accepted(changed):
                free.append((".".join(map(str, path)), value))
    assert not free


@pytest.mark.parametrize(
    ("section", "changes", "said"),
    [
        ("data", {"image_size": 1}, "data.image_size: input should be greater than or equal to 4"),
        ("evaluation", {"seed": 10**30}, "evaluation.seed: input should be less than"),
        ("evaluation", {"w": [0.1, 0.1000001]}, "has 0.1 and 0.1000001, which results cannot tell"),
        ("extractor", {"batch_size": 10**9}, "extractor.batch_size: input should be less than"),
        ("guide", {"w_frequencies": 10**9}, "guide.w_frequencies: input should be less than"),
        ("teacher", {"weight_decay": 1e308}, "teacher.weight_decay: input should be less than"),
        ("network", {"base_channels": 4096, "channel_multipliers": [1, 8]}, "32768 channels: use"),
        *(
            ("data", {"path": path}, f"data.path is {path}, which overlaps ")
            for path in (
                "models",
                "data",
                ".",
                "..",
                "data/shards/x",
                "results/../models/a",
                ".git",
            )
        ),
    ],
)
def test_what_would_crash_later_is_refused(
    section: str, changes: dict[str, Any], said: str, typed: Typed
) -> None:
    params = typed.params()
    params[section] |= changes
    typed.write(params)
    assert said in typed.refused("check")


@st.composite
def chains(draw: st.DrawFn) -> dict[str, Any]:
    """Params with next to no work, at the edges of what is accepted."""
    params: dict[str, Any] = HELPERS["tiny_params"]()
    places = numbers({name: params[name] for name in params if name not in ("data", "runtime")})
    values = {int: st.sampled_from(EDGE), float: st.sampled_from(EDGE_FLOATS)}
    for _ in range(draw(st.integers(1, 6))):
        path, kind = draw(st.sampled_from(places))
        changed = copy.deepcopy(params)
        put(changed, path, draw(values[kind]))
        if accepted(changed) and small(changed):
            params = changed
    params["extractor"]["min_accuracy"] = 0.0  # which may fail, as it says
    params["seed"] = draw(st.sampled_from([0, 1, 2**63 - 1]))
    params["evaluation"]["w"] = draw(st.sampled_from([[0.0], [5e-324, 1.0], [3.0, 0.1, 1e-7]]))
    params["evaluation"]["seeds"] = draw(st.sampled_from([1, 3]))
    params["teacher"]["parameterization"] = draw(st.sampled_from(["v", "x", "x_eps"]))
    params["schedule"]["name"] = draw(st.sampled_from(["cosine", "linear_beta", "linear_log_snr"]))
    return params


def small(params: dict[str, Any]) -> bool:
    """Whether it is work for a test."""
    limits = {"updates": 20, "batch_size": 2**12, "num_samples": 200, "seeds": 3}
    sections = [*params.values(), *params["ladder"].values()]
    return (
        all(
            section.get(name, 0) <= limit
            for section in sections
            if isinstance(section, dict)
            for name, limit in limits.items()
        )
        and max(params["evaluation"]["teacher_steps"] + [params["guide"]["steps"]]) <= 16
    )


@pytest.mark.slow
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],  # a run of the chain is too long to be shrunk
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(params=chains())
def test_what_is_accepted_runs_through_every_stage(
    params: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert accepted(params)
    root = tmp_path_factory.mktemp("accepted")
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in HELPERS["STAGES"]:
        assert HELPERS["call"](root, *command) == 0, (command, params)
    assert (root / "reports/index.html").exists()
