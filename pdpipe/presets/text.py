"""A study's params as text: one of `templates/`, filled with entries, one a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from string import Template

Entries = dict[str, dict[str, object]]  # {key: its settings} of a section
FOLDER = resources.files("pdpipe") / "presets"
ABOUT = "# {}: settings of Salimans & Ho 2022 (PD) and Meng et al. 2022 (GD). Not run by us.\n"
_PLAIN = re.compile(r"[A-Za-z][\w ./()-]*", re.ASCII)


def filled(study: str, name: str, **values: object) -> str:
    """The study's template with its `$names` replaced, below a line that names the data set."""
    template = (FOLDER / "templates" / f"{study}.yaml").read_text(encoding="utf-8")
    return ABOUT.format(name) + Template(template).substitute(values)


def entries(*parts: Entries | str, indent: str = "  ") -> str:
    """Entries one a line, as one would write them by hand; texts are comments on what follows."""
    lines = []
    for part in parts:
        if isinstance(part, str):
            lines.append(f"{indent}# {part}")
        else:
            lines += [f"{indent}{key}: {flow(entry)}" for key, entry in part.items()]
    return "\n".join(lines)


def flow(value: object) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Iterable):
        return f"[{', '.join(map(flow, value))}]"
    return str(value)


def number(value: float) -> str:
    """A float with the dot that YAML needs: 0.3, and 1.0e-4 for small ones."""
    if value == 0 or abs(value) >= 0.01:
        return repr(float(value))
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa)!r}e{int(exponent)}"
