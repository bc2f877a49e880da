"""Images on their way to a model: sources, shards with a manifest, splits, training order.

`open_source` and `write_shards` make the shards; `load_split` and `iterate_split` read them;
`batch_indices` says which images a training step sees; `to_unit` and `to_uint8` convert pixels.
"""

from pdpipe.data.loading import ImageSet, iterate_split, load_split
from pdpipe.data.manifest import Manifest, Shard, Split, read_manifest
from pdpipe.data.order import batch_indices
from pdpipe.data.pixels import to_uint8, to_unit
from pdpipe.data.shards import write_shards
from pdpipe.data.sources import Source, open_source

__all__ = [
    "ImageSet",
    "Manifest",
    "Shard",
    "Source",
    "Split",
    "batch_indices",
    "iterate_split",
    "load_split",
    "open_source",
    "read_manifest",
    "to_uint8",
    "to_unit",
    "write_shards",
]
