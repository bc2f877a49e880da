"""Training: one loop for the plan of every method, which it does not know."""

from pdpipe.training.job import Job
from pdpipe.training.loop import train

__all__ = ["Job", "train"]
