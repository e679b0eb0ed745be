"""Benchmarks of latency and memory, with interleaved measurements for stable ratios."""

from .bandwidth import AGGREGATION_SIZES, OperatorMeasurement, copy_bandwidth, measure_aggregation
from .chart import draw_chart, read_psnr
from .measure import MODES, PRECISIONS, Measurement, bench
from .networks import open_network
from .peers import PEERS
from .windows import MIXERS, WINDOW_SIDES, WindowMeasurement, draw_windows, measure_windows

__all__ = [
    "AGGREGATION_SIZES",
    "MIXERS",
    "MODES",
    "PEERS",
    "PRECISIONS",
    "WINDOW_SIDES",
    "Measurement",
    "OperatorMeasurement",
    "WindowMeasurement",
    "bench",
    "copy_bandwidth",
    "draw_chart",
    "draw_windows",
    "measure_aggregation",
    "measure_windows",
    "open_network",
    "read_psnr",
]
