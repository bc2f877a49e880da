"""What runs are called: what differs from the preset, and nothing else."""

from __future__ import annotations

from typing import Any

from pdpipe import pipeline
from pdpipe.cli.naming import chain_run_name, special_settings, stage_run_name
from pdpipe.params import parse_params


def test_only_what_differs_from_the_preset_is_named(raw: dict[str, Any]) -> None:
    assert special_settings(parse_params(raw)) == {}
    assert stage_run_name(pipeline.TEACHER, {}) == "teacher"
    raw["teacher"]["updates"] = 300
    raw["runtime"]["threads"] = 1
    special = special_settings(parse_params(raw))
    assert special == {"teacher.updates": 300}
    assert stage_run_name(pipeline.TEACHER, special) == "teacher · updates=300"
    assert stage_run_name(pipeline.EXTRACTOR, special) == "extractor"
    assert chain_run_name("digits", "9c31ee80112e7ce4", special) == (
        "9c31ee80 · digits · teacher.updates=300"
    )
    assert chain_run_name("digits", "9c31ee80112e7ce4", {}, "FID 0.35 in 1 step") == (
        "9c31ee80 · FID 0.35 in 1 step · digits"
    )


def test_a_name_stays_short() -> None:
    many = {f"teacher.a{i}": i for i in range(9)}
    assert stage_run_name(pipeline.TEACHER, many) == "teacher · a0=0, a1=1, a2=2, a3=3, 5 more"
