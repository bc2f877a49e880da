"""What MLflow accepts: legal names, params as short text, metrics as finite JSON."""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any

_MAX_KEY = 250  # mlflow.utils.validation: MAX_ENTITY_KEY_LENGTH
MAX_PARAM = 6000  # MAX_PARAM_VAL_LENGTH
MAX_TAG = 8000  # MAX_TAG_VAL_LENGTH


def legal_key(name: str) -> str:
    """`name` as MLflow takes it for a metric, param or tag; other signs become `-`.

    `halve@4` becomes `halve-4`. Letters, digits, `_ - . /` and spaces stay.
    """
    key = posixpath.normpath(re.sub(r"[^\w.\- /]", "-", name)).lstrip("/.")
    return key[:_MAX_KEY] or "-"


def legal_folder(name: str) -> str:
    """`name` as one folder's name: `@` stays, a path's `/` becomes `-`."""
    return re.sub(r"[^\w.\-@]", "-", name).lstrip(".") or "-"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as {"teacher.updates": "2200"}: text stays, other leaves become JSON."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{key}."))
        else:
            flat[key] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def legal_values(values: Mapping[str, str], longest: int) -> dict[str, str]:
    """Params or tags with keys that MLflow takes, each value cut to the longest that it takes."""
    return {
        legal_key(key): text if len(text) <= longest else f"{text[: longest - 1]}…"
        for key, text in values.items()
    }


def to_json_number(value: float) -> float | str:
    """`value` if JSON can hold it, else the text `nan`, `inf` or `-inf` (which float() reads)."""
    return value if math.isfinite(value) else str(value)


def without_password(text: str) -> str:
    """`text` with the `user:password@` of any address in it left out."""
    return re.sub(r"//[^/@\s]+@", "//", text)
