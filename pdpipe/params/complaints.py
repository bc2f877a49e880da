"""Pydantic's complaints in our words: one sentence with the key and the mend."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, Tag, ValidationError

from pdpipe.errors import ParamsError, did_you_mean
from pdpipe.params.dialect import shortened, spelled
from pdpipe.params.models import Params

AnySection = TypeVar("AnySection", bound=BaseModel)


def validated(section: type[AnySection], settings: object, where: str | Path) -> AnySection:
    """Settings as a section; raises `ParamsError`, one sentence that begins with where they are."""
    try:
        return section.model_validate(settings)
    except ParamsError as error:
        raise ParamsError(f"{where}: {error}") from None
    except ValidationError as error:
        raise ParamsError(f"{where}: {one_sentence(error, section)}") from None


def one_sentence(error: ValidationError, root: type[BaseModel] = Params) -> str:
    """One complaint of pydantic about a `root`, as `section.key: what is wrong, how to mend it`.

    An unknown key comes before all others: a mistyped key is unknown and leaves the right one
    missing, and it is the mistyped one that has to be mended.
    """
    problems = error.errors(include_url=False)
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    keys, _ = _walked(root, problem["loc"])
    where = ".".join(map(shortened, keys))
    kind, given = problem["type"], problem.get("input")
    shown = spelled(given)
    if kind == "extra_forbidden":
        _, section = _walked(root, problem["loc"][:-1])
        names = [field.alias or name for name, field in section.model_fields.items()]
        return f"unknown key {where}: {did_you_mean(shortened(keys[-1]), names)}"
    if kind == "union_tag_invalid":
        names = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        known = did_you_mean(problem["ctx"]["tag"], names)
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
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"{where} is {shown}: write a section of keys and values"
    if kind.startswith("bool_"):
        return f"{where} is {shown}: write true or false"
    if kind == "string_type" and isinstance(given, int | float | date):
        what = "a date" if isinstance(given, date) else "a number"
        if isinstance(given, bool):
            what = "a truth value"
        as_it_was = "" if isinstance(given, float) else f', "{shown}"'
        return f"{where} is {shown}, {what}: write it in quotes{as_it_was}"
    return f"{where}: {_lower_first(str(problem['msg']))}, got {shown}"


def _walked(root: Any, path: Iterable[int | str]) -> tuple[list[str], Any]:
    """(Keys, type at the end) of a path of pydantic's, without the tags that it adds for unions."""
    keys, kind = [], root
    for part in map(str, path):
        chosen = [o for o in get_args(kind) if Tag(part) in getattr(o, "__metadata__", ())]
        if chosen:
            kind = get_args(chosen[0])[0]
            continue
        keys.append(part)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {field.alias or name: field for name, field in kind.model_fields.items()}
            kind = fields[part].annotation if part in fields else None
        else:  # the values of a mapping
            kind = (get_args(kind) or [None])[-1]
        if NoneType in get_args(kind):
            kind = get_args(kind)[0]
    return keys, kind


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
