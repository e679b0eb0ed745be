"""Datasets for evaluation and training: names, locations, layouts."""

from .catalog import KNOWN_DATASETS, KnownDataset, known_dataset
from .dataset import Dataset, open_dataset
from .download import fetch, verify
from .layouts import Pair

__all__ = ["KNOWN_DATASETS", "Dataset", "KnownDataset", "Pair", "fetch", "known_dataset", "open_dataset", "verify"]
