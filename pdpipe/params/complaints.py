"""Pydantic's complaints in our words: one sentence with the key and the mend."""

from __future__ import annotations

import math
from datetime import date
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pdpipe.errors import did_you_mean
from pdpipe.params.dialect import shortened, spelled
from pdpipe.params.models import Params
from pdpipe.params.networks import SECTIONS


def one_sentence(error: ValidationError, root: type[BaseModel] = Params) -> str:
    """One complaint of pydantic about a `root`, as `section.key: what is wrong, how to mend it`.

    An unknown key comes before all others: a mistyped key is unknown and leaves the right one
    missing, and it is the mistyped one that has to be mended.
    """
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    where = ".".join(shortened(part) for part in _without_tag(problem["loc"]))
    kind, given = problem["type"], problem.get("input")
    shown = spelled(given)
    if kind == "extra_forbidden":
        *parents, name = (str(part) for part in problem["loc"])
        return f"unknown key {where}: {did_you_mean(shortened(name), _known_keys(root, parents))}"
    if kind == "union_tag_invalid":
        known = did_you_mean(problem["ctx"]["tag"], SECTIONS)
        return f"{where}.name is {spelled(given['name'])}: {known}"
    if kind == "missing":
        more = " (`pdpipe preset digits` shows every key)" if root is Params else ""
        return f"{where} is missing: add it{more}"
    if kind == "literal_error":
        expected = str(problem["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"{where} is {shown}: {did_you_mean(shown, expected.split(', '))}"
    if kind in ("float_type", "int_type") and isinstance(given, str) and _is_number(given):
        number = float(given)
        meant = int(number) if kind == "int_type" and number.is_integer() else number
        return f"{where} is the text {shown}: write it as {spelled(meant)} without quotes"
    if kind.startswith("bool_"):
        return f"{where} is {shown}: write true or false"
    if kind == "string_type" and isinstance(given, int | float | date):
        what = "a date" if isinstance(given, date) else "a number"
        if isinstance(given, bool):
            what = "a truth value"
        as_it_was = "" if isinstance(given, float) else f', "{shown}"'
        return f"{where} is {shown}, {what}: write it in quotes{as_it_was}"
    return f"{where}: {_lower_first(str(problem['msg']))}, got {shown}"


def _without_tag(loc: tuple[int | str, ...]) -> list[str]:
    """The path to a setting, without the name of the network by which pydantic chose its class."""
    parts = [str(part) for part in loc]
    if len(parts) > 1 and parts[0] == "network" and parts[1] in SECTIONS:
        del parts[1]
    return parts


def _known_keys(root: type[BaseModel], parents: list[str]) -> list[str]:
    """The keys of the section at `parents`; a mapping's keys are free, its values sections."""
    inside: Any = root
    for place, part in enumerate(parents):
        if place == 1 and parents[0] == "network" and part in SECTIONS:
            inside = SECTIONS[part]
            continue
        values = get_args(inside)  # of a mapping: the types of its keys and of its values
        inside = values[1] if values else _section_of(inside.model_fields[part].annotation)
    return [field.alias or name for name, field in inside.model_fields.items()]


def _section_of(annotation: Any) -> Any:
    """The type of a field's value, where that may also be None the other one."""
    options = get_args(annotation)
    return options[0] if NoneType in options else annotation


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
