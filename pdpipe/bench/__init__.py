"""What pdpipe itself costs beyond the networks, always as ratios measured in one run."""

from pdpipe.bench.samplers import SamplerResult, bench_samplers
from pdpipe.bench.updates import BenchResult, SnapshotResult, bench_snapshots, bench_updates

__all__ = [
    "BenchResult",
    "SamplerResult",
    "SnapshotResult",
    "bench_samplers",
    "bench_snapshots",
    "bench_updates",
]
