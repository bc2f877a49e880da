"""What runs are called in MLflow: the stage or the chain, and what is special about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdpipe.params import Params
    from pdpipe.pipeline import Stage

_MOST = 4  # settings in a name


def special_settings(params: Params) -> dict[str, Any]:
    """{"teacher.updates": 300}: the chain's settings that are not those of its data's preset.

    Nothing for data that have no preset, such as your own images.
    """
    from pdpipe.params import chain_params, dotted
    from pdpipe.presets import preset_names, preset_params

    if params.data.source not in preset_names():
        return {}
    usual = dotted(chain_params(preset_params(params.data.source)))
    here = dotted(chain_params(params))
    return {key: value for key, value in here.items() if usual.get(key) != value}


def stage_run_name(stage: Stage, special: dict[str, Any]) -> str:
    """`teacher · updates=300`: the stage, and what is special of the settings that it uses.

    >>> from pdpipe.pipeline import TEACHER
    >>> stage_run_name(TEACHER, {"teacher.updates": 300, "halve.warmup": 2})
    'teacher · updates=300'
    """
    used = {}
    for key, value in special.items():
        section = next((s for s in stage.params if f"{key}.".startswith(f"{s}.")), None)
        own = section is not None and section.startswith((stage.name.split("@")[0], "ladder."))
        if section is not None:
            used[key.removeprefix(f"{section}.") if own else key] = value
    return _named(stage.name, used)


def chain_run_name(source: str, chain_id: str, special: dict[str, Any], outcome: str = "") -> str:
    """The chain, what came out of it, its data, and what is special of all settings.

    MLflow's list shows some 20 signs of it, and the data in a column of its own.

    >>> chain_run_name("digits", "9c31ee80112e7ce4", {"seed": 1}, "FID 0.35 in 1 step")
    '9c31ee80 · FID 0.35 in 1 step · digits · seed=1'
    """
    return _named(" · ".join(filter(None, [chain_id[:8], outcome, source])), special)


def _named(what: str, special: dict[str, Any]) -> str:
    rest = [f"{key}={value}" for key, value in special.items()]
    more = [f"{len(rest) - _MOST} more"] if len(rest) > _MOST else []
    return " · ".join([what, *([", ".join([*rest[:_MOST], *more])] if rest else [])])
