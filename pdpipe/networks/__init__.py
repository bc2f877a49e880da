"""The networks: the diffusion U-Net, one for points, the classifier behind the metrics."""

from pdpipe.networks.classifier import Classifier, ClassifierConfig
from pdpipe.networks.points import PointNetwork, PointNetworkConfig
from pdpipe.networks.unet import UNet, UNetConfig

Network = UNet | PointNetwork
"""A network of `(z_t, log_snr, labels, w)`, with its `config` and its `null_label`."""

__all__ = [
    "Classifier",
    "ClassifierConfig",
    "Network",
    "PointNetwork",
    "PointNetworkConfig",
    "UNet",
    "UNetConfig",
]
