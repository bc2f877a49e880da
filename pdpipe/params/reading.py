"""From a params file and the environment to validated models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pdpipe.errors import ParamsError
from pdpipe.params.complaints import AnySection, one_sentence, validated
from pdpipe.params.dialect import MOST_CHARACTERS, load_yaml, spelled
from pdpipe.params.models import Params, RuntimeParams


def read_params(path: Path = Path("params.yaml")) -> Params:
    """The validated contents of a params file.

    Raises:
        ParamsError: the file is missing, is not YAML, or says something that cannot be run.
    """
    return parse_params(_yaml(path, _WRITE), path)


_WRITE = "write one with `pdpipe preset digits`"


def read_section(path: Path, section: type[AnySection], mend: str) -> AnySection:
    """The validated contents of a YAML file that holds one section.

    Args:
        path: the file.
        section: what it holds.
        mend: what to do if the file does not exist.

    Raises:
        ParamsError: the file is missing, is not YAML, or does not hold the section.
    """
    return _validated(_yaml(path, mend), path, section, mend)


def _validated(raw: object, path: Path, section: type[AnySection], mend: str) -> AnySection:
    if not isinstance(raw, dict):
        raise ParamsError(f"{path} holds no settings: {mend}")
    return validated(section, raw, path)


def _yaml(path: Path, mend: str) -> object:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise ParamsError(
            f"{path} does not exist here: change to the project's folder, or {mend}"
        ) from None
    except OSError as error:
        raise ParamsError(f"{path} cannot be read ({error.strerror}): {mend}") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not valid YAML: it is not UTF-8 text ({error})") from None
    return load_yaml(text, str(path))


def parse_params(raw: object, path: Path = Path("params.yaml")) -> Params:
    """The validated models of a params file's parsed YAML; raises `ParamsError`."""
    if isinstance(raw, dict):
        _check_keys_are_text(raw, path)
        raw = _with_environment(raw)
    return _validated(raw, path, Params, _WRITE)


def settings_of(text: str, where: str) -> dict[str, Any]:
    """{dotted key: value} of a params file's text, not validated: of any version of pdpipe.

    Raises:
        ParamsError: the text is not YAML, or holds no settings; `where` says whose it is.
    """
    raw = load_yaml(text, where)
    if not isinstance(raw, dict):
        raise ParamsError(f"{where} holds no settings: compare another revision")
    return dotted(raw)


def dotted(nested: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of {"a": {"b": value}}; lists and empty mappings are values."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        inside = isinstance(value, dict) and value
        found |= dotted(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return found


def _check_keys_are_text(raw: dict[Any, Any], path: Path) -> None:
    ladder = raw.get("ladder")
    for key in ladder if isinstance(ladder, dict) else ():
        if not isinstance(key, str):
            raise ParamsError(
                f'{path}: ladder key {key} must be quoted, "{key}": DVC drops unquoted number keys'
            )


def _with_environment(raw: dict[Any, Any]) -> dict[Any, Any]:
    """`raw` with `runtime` fields replaced by PDPIPE_DEVICE, PDPIPE_THREADS, … where set."""
    runtime = raw.get("runtime")
    if not isinstance(runtime, dict):
        return raw
    changed = dict(runtime)
    for name in RuntimeParams.model_fields:
        variable = f"PDPIPE_{name.upper()}"
        if os.environ.get(variable):
            changed[name] = _environment_value(variable, name)
    return {**raw, "runtime": changed}


def environment_runtime() -> RuntimeParams:
    """Section `runtime` where there is no params file: its defaults, and the environment."""
    found = _with_environment({"runtime": _RUNTIME_DEFAULTS})
    return RuntimeParams.model_validate(found["runtime"])


def _environment_value(variable: str, name: str) -> object:
    """A variable's value: text where the setting is one, else what YAML finds in it."""
    value: object = os.environ[variable]
    try:
        if not isinstance(_RUNTIME_DEFAULTS[name], str):
            value = load_yaml(str(value), variable)
        RuntimeParams.model_validate({**_RUNTIME_DEFAULTS, name: value})
    except ParamsError:
        raise ParamsError(
            f"environment variable {variable} is {spelled(value)}, which is not valid YAML: give "
            f"a plain value such as {spelled(_RUNTIME_DEFAULTS[name])}"
        ) from None
    except ValidationError as error:
        sentence = one_sentence(error).replace(name, variable, 1).removesuffix(" without quotes")
        raise ParamsError(f"environment variable {sentence}") from None
    return value


_RUNTIME_DEFAULTS: dict[str, Any] = {
    "device": "auto",
    "threads": 0,
    "workers": 0,
    "precision": "float32",
    "compile": False,
    "snapshot_seconds": 10.0,
    "weights": "",
}
