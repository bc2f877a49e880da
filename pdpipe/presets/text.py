"""A study's params as text: one of `templates/`, filled with entries in the style that DVC writes.

So `dvc exp run -S` changes the line of its setting and no other.
"""

from __future__ import annotations

import textwrap
from importlib import resources
from string import Template

import yaml

Entries = dict[str, dict[str, object]]  # {key: its settings} of a section
FOLDER = resources.files("pdpipe") / "presets"
ABOUT = "# {}: settings of Salimans & Ho 2022 (PD) and Meng et al. 2022 (GD). Not run by us.\n"


def filled(study: str, name: str, **values: object) -> str:
    """The study's template with its `$names` replaced, below a line that names the data set."""
    template = (FOLDER / "templates" / f"{study}.yaml").read_text(encoding="utf-8")
    return ABOUT.format(name) + Template(template).substitute(values)


def entries(*parts: Entries | str, indent: str = "  ") -> str:
    """Entries as one would write them by hand; texts are comments on what follows."""
    return "\n".join(
        f"{indent}# {part}" if isinstance(part, str) else block(part, indent) for part in parts
    )


def block(value: object, indent: str) -> str:
    """A value as YAML, a line for each of its settings, indented."""
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_ENDLESS)
    return textwrap.indent(text.removesuffix("\n"), indent)


def number(value: float) -> str:
    """A float with the dot that YAML needs: 0.3, and 1.0e-4 for small ones."""
    if value == 0 or abs(value) >= 0.01:
        return repr(float(value))
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa)!r}e{int(exponent)}"


_ENDLESS = 1_000_000


class _Dumper(yaml.SafeDumper):
    """The safe dumper, but for small numbers, and without names for values that come twice."""

    def ignore_aliases(self, data: object) -> bool:
        """Whether a value is written out again: always."""
        return True


_Dumper.add_representer(
    float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", number(value))
)
