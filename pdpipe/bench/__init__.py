"""What pdpipe costs here: beyond the networks, as ratios; and a whole chain, before it starts."""

from pdpipe.bench.evaluation_rates import MOST_IMAGES
from pdpipe.bench.forecast import StageForecast, StartUp, forecast, total
from pdpipe.bench.precision import RungNoise, image_noise, rung_noise
from pdpipe.bench.rates import Rates, measure_rates
from pdpipe.bench.samplers import SamplerResult, bench_samplers
from pdpipe.bench.timing import Rate, Seconds
from pdpipe.bench.untrained import DataSize, Untrained, data_size, untrained_models
from pdpipe.bench.updates import BenchResult, SnapshotResult, bench_snapshots, bench_updates
from pdpipe.bench.waiting import WaitingResult, bench_waiting

__all__ = [
    "MOST_IMAGES",
    "BenchResult",
    "DataSize",
    "Rate",
    "Rates",
    "RungNoise",
    "SamplerResult",
    "Seconds",
    "SnapshotResult",
    "StageForecast",
    "StartUp",
    "Untrained",
    "WaitingResult",
    "bench_samplers",
    "bench_snapshots",
    "bench_updates",
    "bench_waiting",
    "data_size",
    "forecast",
    "image_noise",
    "measure_rates",
    "rung_noise",
    "total",
    "untrained_models",
]
