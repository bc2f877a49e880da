"""A study's params as text: one of `templates/`, filled with entries in the style that DVC writes.

So `dvc exp run -S` changes the line of its setting and no other.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping
from importlib import resources
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

Entries = dict[str, dict[str, object]]  # {key: its settings} of a section
FOLDER = resources.files("pdpipe") / "presets"
ABOUT = "# {}: settings of Salimans & Ho 2022 (PD) and Meng et al. 2022 (GD). Not run by us.\n"


def filled(study: str, name: str, values: Mapping[str, object]) -> str:
    """The study's template with its `$names` replaced, below a line that names the data set.

    A value that is no text becomes YAML, indented as its name in the template.
    """
    template = (FOLDER / "templates" / f"{study}.yaml").read_text(encoding="utf-8")

    def shown(found: re.Match[str]) -> str:
        value = values[found["name"]]
        return textwrap.indent(value if isinstance(value, str) else block(value), found["indent"])

    return ABOUT.format(name) + re.sub(
        r"(?P<indent>(^ *)?)\$(?P<name>\w+)", shown, template, flags=re.M
    )


def edited(text: str, changes: Mapping[str, tuple[object, str]]) -> str:
    """A params file's text with some settings changed, each with a comment of its own.

    Args:
        text: in the style that DVC writes.
        changes: {dotted key: (value, comment)}; an empty comment keeps what stands there.

    Raises:
        KeyError: the text lacks a key.
    """
    found: list[str] = []
    path: list[str] = []
    replaced: int | None = None  # the indentation of a key whose old value is left out
    missing = dict(changes)
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if replaced is not None and line and (indent > replaced or line.lstrip().startswith("- ")):
            continue
        replaced = None
        setting = re.match(r" *'?([\w-]+)'?:(?P<value>[^#]*?)(?P<comment> #.*)?$", line)
        if setting is None:
            found.append(line)
            continue
        path = [*path[: indent // 2], setting[1]]
        if (change := missing.pop(".".join(path), None)) is None:
            found.append(line)
            continue
        value, comment = change
        comment = f" {remark(comment)}" if comment else setting["comment"] or ""
        found += _setting(setting[1], value, comment, " " * indent)
        replaced = indent
    if missing:
        raise KeyError(*missing)
    return "\n".join(found) + "\n"


def remark(text: str) -> str:
    """A comment of one line: the names of files in it may hold what YAML does not take."""
    return "# " + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _setting(key: str, value: object, comment: str, indent: str) -> list[str]:
    """The lines of a setting: those of a list or a mapping below its key."""
    if not (isinstance(value, list | dict) and value):
        return [f"{indent}{key}: {block(value)}{comment}"]
    inner = indent if isinstance(value, list) else f"{indent}  "
    return [f"{indent}{key}:{comment}", *textwrap.indent(block(value), inner).splitlines()]


def commented(*parts: Entries | str) -> str:
    """Entries as one would write them by hand; texts are comments on what follows."""
    return "\n".join(f"# {part}" if isinstance(part, str) else block(part) for part in parts)


def block(value: object) -> str:
    """A value as YAML, a line for each of its settings."""
    text = io.StringIO()
    _yaml().dump(value, text)
    return text.getvalue().removesuffix("\n").removesuffix("\n...")


def number(value: float) -> str:
    """A float with the dot that YAML needs: 0.3, and 1.0e-4 for small ones."""
    if value == 0 or abs(value) >= 0.01:
        return repr(float(value))
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa)!r}e{int(exponent)}"


class _Representer(SafeRepresenter):
    """The safe one, but for small numbers, and without names for values that come twice."""

    def ignore_aliases(self, data: object) -> bool:
        """Whether a value is written out again: always."""
        return True


_Representer.add_representer(
    float, lambda one, value: one.represent_scalar("tag:yaml.org,2002:float", number(value))
)


def _yaml() -> Any:
    found: Any = YAML(typ="safe", pure=True)
    found.Representer = _Representer
    found.default_flow_style = False
    found.sort_base_mapping_type_on_output = False
    found.width = 1_000_000
    return found
