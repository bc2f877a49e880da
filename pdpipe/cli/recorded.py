"""Whether DVC has a file: named by dvc.lock, so that no stage makes it again, and in the cache.

In a fresh clone dvc.lock alone says nothing, since the cache is empty.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from pdpipe import layout

_DVC = Path(".dvc")


def recorded(md5: str) -> bool:
    """Whether DVC has the file with these bytes; False where that cannot be seen."""
    locks = [Path("dvc.lock"), *layout.STUDIES.parent.glob("*/dvc.lock")]
    named = any(f"md5: {md5}".encode() in lock.read_bytes() for lock in locks if lock.is_file())
    return named and any((cache / "files/md5" / md5[:2] / md5[2:]).is_file() for cache in _caches())


def _caches() -> list[Path]:
    """The project's cache, as its configuration says where it is."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        settings.read([_DVC / "config", _DVC / "config.local"], encoding="utf-8")
    except (configparser.Error, ValueError):
        return []
    return [_DVC / settings.get("cache", "dir", fallback="cache")]
