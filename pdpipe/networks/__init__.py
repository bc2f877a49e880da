"""The networks: the diffusion U-Net and the small classifier behind the metrics."""

from pdpipe.networks.classifier import Classifier, ClassifierConfig
from pdpipe.networks.unet import UNet, UNetConfig

__all__ = ["Classifier", "ClassifierConfig", "UNet", "UNetConfig"]
