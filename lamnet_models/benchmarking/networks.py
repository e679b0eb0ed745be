"""Networks to benchmark, by name."""

from __future__ import annotations

import os
import warnings

from torch import nn

from ..errors import ModelError
from ..factory import create_model, resolve_model
from ..names import VARIANTS
from .peers import PEERS


def open_network(name: str | os.PathLike, scale: int) -> nn.Module:
    """Return a network to benchmark, in evaluation mode.

    Args:
        name: A model name (with random weights, which do not affect latency), a key of
            [`PEERS`][lamnet_models.benchmarking.PEERS], or a checkpoint file.
        scale: Scale factor of peer networks.

    Raises:
        LAMNetError: If the network is unknown, or spandrel is missing.
    """
    if name in PEERS:
        try:
            with warnings.catch_warnings():  # deprecated calls of torch functions
                warnings.simplefilter("ignore")
                return PEERS[name](scale).eval()
        except ImportError:
            raise ModelError(f"{name} requires spandrel: pip install 'lamnet[peers]'") from None
    return (create_model(name) if name in VARIANTS else resolve_model(name)).eval()
