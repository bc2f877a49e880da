"""What a setting can name, and the metrics, with the module that holds each.

Importing this imports none of them, so settings are checked without torch. No stage depends on this
file, so that a new line makes nothing stale: a name stays with what it names.
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

SAMPLERS = (  # from noise to images; their classes are in `diffusion.SAMPLERS`
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
    "fid_heldout": "pdpipe.evaluation.metrics.fid_heldout",
    "is": "pdpipe.evaluation.metrics.inception_score",
    "kid": "pdpipe.evaluation.metrics.kid",
    "mmd": "pdpipe.evaluation.metrics.mmd",
    "precision": "pdpipe.evaluation.metrics.precision",
    "recall": "pdpipe.evaluation.metrics.recall",
}
