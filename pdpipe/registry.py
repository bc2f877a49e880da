"""What a setting can name, and the module that holds it.

It is imported when it is first used, so that settings are checked without torch.
"""

from __future__ import annotations

METHODS = {  # how a student is made of a teacher; each module has its `METHOD`
    "guide": "pdpipe.methods.guide",
    "halve": "pdpipe.methods.halve",
    "stochastic": "pdpipe.methods.stochastic",
    "encoder": "pdpipe.methods.encoder",
    "naive": "pdpipe.methods.naive",
    "tract": "pdpipe.methods.tract",
}

NETWORKS = {  # what predicts; each module has its `NETWORK`
    "unet": "pdpipe.networks.unet",
    "dit": "pdpipe.networks.dit",
}

SAMPLERS = (  # keys of `diffusion.SAMPLERS`, where their classes are
    "ddim",
    "ancestral",
    "stochastic",
    "euler",
    "heun",
    "rk4",
    "dpm_solver",
)

METRICS = {  # of images, in the order of the tables; each module has its `METRIC`
    "fid": "pdpipe.evaluation.metrics.fid",
    "is": "pdpipe.evaluation.metrics.inception_score",
    "kid": "pdpipe.evaluation.metrics.kid",
    "mmd": "pdpipe.evaluation.metrics.mmd",
    "precision": "pdpipe.evaluation.metrics.precision",
    "recall": "pdpipe.evaluation.metrics.recall",
}
