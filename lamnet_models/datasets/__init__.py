"""Datasets for evaluation and training: names, locations, layouts."""

from .catalogue import KNOWN_DATASETS, KnownDataset, known_dataset
from .dataset import Dataset, open_dataset
from .fetch import fetch
from .pairs import Pair
from .verify import verify

__all__ = ["KNOWN_DATASETS", "Dataset", "KnownDataset", "Pair", "fetch", "known_dataset", "open_dataset", "verify"]
