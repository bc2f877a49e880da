"""Whether DVC has a file: named by dvc.lock, so that no stage makes it again, and in the cache.

In a fresh clone dvc.lock alone says nothing, since the cache is empty. Nor does one that is older
than the file: it names the same bytes of an earlier run, which DVC deletes before it runs a stage.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from pdpipe import layout

_DVC = Path(".dvc")


def recorded(md5: str, made: float) -> bool:
    """Whether DVC has recorded the file with these bytes since it was made.

    Args:
        md5: of the file.
        made: when, in seconds since the epoch.

    Returns:
        False also where that cannot be seen.
    """
    locks = [Path("dvc.lock"), *layout.STUDIES.parent.glob("*/dvc.lock")]
    since = [lock for lock in locks if lock.is_file() and lock.stat().st_mtime >= made]
    named = any(f"md5: {md5}".encode() in lock.read_bytes() for lock in since)
    return named and any((cache / "files/md5" / md5[:2] / md5[2:]).is_file() for cache in _caches())


def _caches() -> list[Path]:
    """The project's cache, as its configuration says where it is."""
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        settings.read([_DVC / "config", _DVC / "config.local"], encoding="utf-8")
    except (configparser.Error, ValueError):
        return []
    return [_DVC / settings.get("cache", "dir", fallback="cache")]
