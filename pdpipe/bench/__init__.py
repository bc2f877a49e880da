"""What pdpipe costs here: beyond the networks, as ratios; and a whole chain, before it starts."""

from pdpipe.bench.forecast import StageForecast, StartUp, forecast, total
from pdpipe.bench.precision import RungNoise, image_noise, rung_noise
from pdpipe.bench.rates import MOST_IMAGES, Rates, measure_rates
from pdpipe.bench.ratios import bench_samplers, bench_snapshots, bench_updates
from pdpipe.bench.setting import trained
from pdpipe.bench.timing import Seconds
from pdpipe.bench.untrained import DataSize, Untrained, data_size, untrained_models
from pdpipe.bench.waiting import bench_waiting

__all__ = [
    "MOST_IMAGES",
    "DataSize",
    "Rates",
    "RungNoise",
    "Seconds",
    "StageForecast",
    "StartUp",
    "Untrained",
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
    "trained",
    "untrained_models",
]
