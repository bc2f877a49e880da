"""Real stages on the digits, started alike by the tests and by `training_worker.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from pdpipe.data import load_split
from pdpipe.models import load_model, save_model
from pdpipe.params import Params, RuntimeParams
from pdpipe.training import Job, train_guide, train_halving, train_teacher
