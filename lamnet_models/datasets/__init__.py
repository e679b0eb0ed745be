"""Sets of images to measure on and to train on: their names, where they lie, how they are laid out."""

from .catalogue import KNOWN_SETS, KnownSet, known_set
from .dataset import Dataset, open_dataset
from .fetch import fetch
from .pairs import Pair
from .verify import verify

__all__ = ["KNOWN_SETS", "Dataset", "KnownSet", "Pair", "fetch", "known_set", "open_dataset", "verify"]
