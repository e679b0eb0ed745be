"""Networks to measure, by name."""

from __future__ import annotations

import os
import warnings

from torch import nn

from ..errors import ModelError
from ..registry import NAMES, create_model, resolve_model
from .peers import PEERS


def open_network(name: str | os.PathLike, scale: int) -> nn.Module:
    """Returns a network to measure, in evaluation mode.

    Args:
        name: One of our models (random weights: time does not depend on them), a peer of
            [`PEERS`][lamnet_models.benchmarking.PEERS], or the file of a checkpoint.
        scale: Factor of enlargement for peers.

    Raises:
        LAMNetError: If there is no such network, or spandrel is missing.
    """
    if name in PEERS:
        try:
            with warnings.catch_warnings():  # of torch functions that they call in an old way
                warnings.simplefilter("ignore")
                return PEERS[name](scale).eval()
        except ImportError:
            raise ModelError(f"{name} comes with spandrel, which is missing: pip install 'lamnet[peers]'") from None
    return (create_model(name) if name in NAMES else resolve_model(name)).eval()
