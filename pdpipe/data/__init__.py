"""Images on their way to a model: shards with a manifest, splits, training order.

`load_split` reads the shards that `pdpipe.sources` wrote; `batch_indices` says which images a
training step sees; `to_unit` and `to_uint8` convert pixels.
"""

from pdpipe.data.loading import ImageSet, load_split, to_uint8, to_unit
from pdpipe.data.manifest import read_manifest
from pdpipe.data.order import batch_indices

__all__ = [
    "ImageSet",
    "batch_indices",
    "load_split",
    "read_manifest",
    "to_uint8",
    "to_unit",
]
