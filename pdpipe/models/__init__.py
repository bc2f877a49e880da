"""Trained models: what a file holds, how it is stored, and how it makes images."""

from pdpipe.models.checkpoint import load_classifier, load_model, save_classifier, save_model
from pdpipe.models.encoding import decode_noise, encode_images
from pdpipe.models.info import ClassifierInfo, ModelInfo
from pdpipe.models.model import DiffusionModel, sample_noise
from pdpipe.models.predictor import DenoiserOf, Predictor
from pdpipe.models.sampling import Sampling, evaluations_of, make_sampler, most_steps
from pdpipe.models.trajectory import Trajectory

__all__ = [
    "ClassifierInfo",
    "DenoiserOf",
    "DiffusionModel",
    "ModelInfo",
    "Predictor",
    "Sampling",
    "Trajectory",
    "decode_noise",
    "encode_images",
    "evaluations_of",
    "load_classifier",
    "load_model",
    "make_sampler",
    "most_steps",
    "sample_noise",
    "save_classifier",
    "save_model",
]
