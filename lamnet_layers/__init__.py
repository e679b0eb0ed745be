"""LAMNet layers for any PyTorch network.

All layers map feature maps (B, C, H, W) to feature maps of the same shape. Layers with parameters take ``device=`` and
``dtype=``. ``TokenAdapter`` applies a layer to tokens; ``create_layer`` creates a layer by name.
"""

from .attention import FocalPass, FocalSeparableAttention
from .backends.select import use_backend
from .block import LAMBlock
from .channel import CSM
from .exchange import IEM
from .factory import create_layer, register_layer
from .feedforward import DGFN
from .functional import focal_aggregate
from .mixer import ULM
from .norm import ChannelLayerNorm
from .residual import PreNormResidual, ScaledResidual
from .tokens import TokenAdapter
from .window import FocalWindow

__version__ = "0.1.0"

__all__ = [
    "CSM",
    "DGFN",
    "IEM",
    "ULM",
    "ChannelLayerNorm",
    "FocalPass",
    "FocalSeparableAttention",
    "FocalWindow",
    "LAMBlock",
    "PreNormResidual",
    "ScaledResidual",
    "TokenAdapter",
    "create_layer",
    "focal_aggregate",
    "register_layer",
    "use_backend",
]
