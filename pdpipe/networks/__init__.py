"""The networks: those that a setting names, one for points, the classifier behind the metrics.

A network of images is one file and one line in `pdpipe/registry.py`; `params/networks.py` has the
settings of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pdpipe.networks.classifier import Classifier, ClassifierConfig
from pdpipe.networks.network import Network
from pdpipe.networks.points import PointNetwork, PointNetworkConfig
from pdpipe.networks.unet import UNet, UNetConfig
from pdpipe.registry import NETWORKS

__all__ = [
    "Classifier",
    "ClassifierConfig",
    "Network",
    "PointNetwork",
    "PointNetworkConfig",
    "UNet",
    "UNetConfig",
    "described",
    "network_of",
]


def network_of(name: str) -> type[Network]:
    """The network of that name, a key of `NETWORKS`."""
    found: type[Network] = import_module(NETWORKS[name]).NETWORK
    return found


def described(network: Network) -> dict[str, Any]:
    """What a model file says of its network, to build it again: its name and its config.

    A U-Net's name is left out, as in the files from before there were other networks.
    """
    name: Mapping[str, Any] = {} if network.name == UNet.name else {"name": network.name}
    return {**name, **vars(network.config)}
