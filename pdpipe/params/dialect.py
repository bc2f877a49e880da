"""YAML as DVC reads and writes it, version 1.2: from a text to plain values, and back to a word."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import date
from typing import Any

from pdpipe.errors import ParamsError

MOST_CHARACTERS = 1 << 20
_MOST_VALUES = 20_000
_DEEPEST = 20
_SHOWN = 80  # characters of a value in a sentence


def load_yaml(text: str, where: str) -> Any:
    """The values of a YAML text, which are those that DVC finds in it.

    Args:
        text: one document; of two equal keys, DVC takes neither.
        where: whose it is, for the error.

    Raises:
        ParamsError: it is not YAML, or too large, too deep or too strange to be settings.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > MOST_CHARACTERS:
        raise ParamsError(
            f"{where} is longer than {MOST_CHARACTERS:,} characters: settings are short, so look "
            "whether this is the right file"
        )
    try:
        _check_events(text, where)
        found = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ParamsError(f"{where} is not valid YAML: {_detail(error)}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What constructors of numbers, dates and tags raise.
        raise ParamsError(
            f"{where} is not valid YAML: it has a value that cannot be read ({_detail(error)})"
        ) from None
    _check_size(found, where)
    return found


def _check_events(text: str, where: str) -> None:
    """Refuse, by its events, which need no stack, what would exhaust the stack or the patience."""
    from ruamel.yaml import YAML

    depth = 0
    for count, event in enumerate(YAML(typ="safe").parse(text)):
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > _DEEPEST + 2:  # the stream and the document are two
            raise _too_deep(where)
        if count > 2 * _MOST_VALUES:  # a key and its value are two
            raise _too_many(where)


def _check_size(found: object, where: str) -> None:
    """Refuse what is too much when each alias is written out; one of what it stands in never is."""
    waiting, count = [(found, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > _DEEPEST:
            raise _too_deep(where)
        if count > _MOST_VALUES:
            raise _too_many(where)
        inside = value.values() if isinstance(value, dict) else value
        if isinstance(inside, Iterable) and not isinstance(inside, str | bytes):
            waiting.extend((part, depth + 1) for part in inside)


def _too_deep(where: str) -> ParamsError:
    return ParamsError(f"{where} nests deeper than {_DEEPEST} levels: settings are flat")


def _too_many(where: str) -> ParamsError:
    return ParamsError(f"{where} holds more than {_MOST_VALUES:,} values: remove some")


def _detail(error: Exception) -> str:
    """What is wrong and in which line, without the advice that libraries give to programmers."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None:
        return shortened(str(error).partition(";")[0] or type(error).__name__, 120)
    line = "" if mark is None else f" in line {mark.line + 1}"
    if problem.startswith("found duplicate key "):
        key = problem.removeprefix("found duplicate key ").partition(" with value ")[0].strip('"')
        return f"key {shortened(key)} comes twice, again{line}"
    context = getattr(error, "context", None) or ""
    said = f"{context} {problem}" if context.startswith("expected") else problem
    return f"{shortened(said, 120)}{line}"


def spelled(value: object) -> str:
    """A value as it is typed in YAML; a long one is cut."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > 1000:
        return "a number of hundreds of digits"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return shortened(f"[{', '.join(map(spelled, value[:_SHOWN]))}]")
    if isinstance(value, dict):
        pairs = [f"{shortened(str(k))}: {spelled(v)}" for k, v in list(value.items())[:_SHOWN]]
        return shortened(f"{{{', '.join(pairs)}}}")
    return shortened(repr(value))


def shortened(text: str, most: int = _SHOWN) -> str:
    """A text for a sentence: on one line, and cut if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"
