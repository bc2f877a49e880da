"""Studies as DVC projects of their own in `stages/<study>/`: made, tied to the root's, and run.

`arms.yaml` is the pipeline of every study that measures models, `encoders.yaml` that of one that
reconstructs images; `STUDY` stands in them for the study's name.
"""

from pdpipe.studies.project import pipeline
from pdpipe.studies.running import run_study

__all__ = ["pipeline", "run_study"]
