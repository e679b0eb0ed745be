"""Benchmarks of latency and memory, with interleaved measurements for stable ratios."""

from .layers import (
    AGGREGATION_SIZES,
    MIXERS,
    WINDOW_SIDES,
    OperatorMeasurement,
    WindowMeasurement,
    draw_windows,
    measure_aggregation,
    measure_windows,
)
from .measure import MODES, PRECISIONS, Measurement, bench, draw_chart, read_psnr
from .peers import PEERS, open_network

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
    "draw_chart",
    "draw_windows",
    "measure_aggregation",
    "measure_windows",
    "open_network",
    "read_psnr",
]
