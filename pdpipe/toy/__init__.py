"""The whole story in the plane, in under a minute: 25 Gaussians, whose denoiser is exact.

`run_toy` distils the exact guided teacher into one w-conditioned student, and that down to one
step; `panels` are what its picture shows: what each makes, with its distance to the truth.
"""

from pdpipe.toy.run import Toy, ToySettings, panels, run_toy

__all__ = ["Toy", "ToySettings", "panels", "run_toy"]
