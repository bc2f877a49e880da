"""Training: one loop for every stage, and the objective of each."""

from pdpipe.training.extractor import train_extractor
from pdpipe.training.guide import train_guide
from pdpipe.training.halve import train_halving
from pdpipe.training.job import Job, TrainingCost
from pdpipe.training.teacher import train_teacher

__all__ = [
    "Job",
    "TrainingCost",
    "train_extractor",
    "train_guide",
    "train_halving",
    "train_teacher",
]
