"""How long networks take, side by side: every round measures each of them once, and only ratios count."""

from .bandwidth import AGGREGATION_SIZES, OperatorMeasurement, copy_bandwidth, measure_aggregation
from .measure import MODES, PRECISIONS, Measurement, bench
from .networks import open_network
from .peers import PEERS

__all__ = [
    "AGGREGATION_SIZES",
    "MODES",
    "PEERS",
    "PRECISIONS",
    "Measurement",
    "OperatorMeasurement",
    "bench",
    "copy_bandwidth",
    "measure_aggregation",
    "open_network",
]
