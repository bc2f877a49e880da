"""The versions of the libraries that a figure passes through."""

from __future__ import annotations

from importlib.metadata import version

LIBRARIES = ("numpy", "scipy", "torch", "torch-fidelity")


def versions() -> dict[str, str]:
    """{library: its version}; of torch without the mark of its build, such as +cpu."""
    return {name: version(name).partition("+")[0] for name in LIBRARIES}
