"""Seeds: every random draw has its own, derived from what it is for."""

from __future__ import annotations

import hashlib
import json


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2**63) for a purpose, e.g. `derive_seed(seed, "teacher", step)`.

    Equal parts give equal seeds, on every machine; different parts give unrelated ones.
    """
    text = json.dumps(list(parts), sort_keys=True, separators=(",", ":"), default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
