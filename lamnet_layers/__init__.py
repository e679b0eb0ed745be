"""LAMNet layers for any PyTorch network.

All layers map feature maps (B, C, H, W) to feature maps of the same shape. Layers with parameters take ``device=`` and
``dtype=``. ``TokenAdapter`` applies a layer to tokens; ``create_layer`` creates a layer by name.
"""

from .adapters import TokenAdapter, create_layer, register_layer
from .backend import available_backends, set_backend, unavailable_reason, use_backend
from .block import ChannelLayerNorm, LAMBlock, PreNormResidual, ScaledResidual
from .feed_forward import DGFN
from .focal_attention import FocalPass, FocalSeparableAttention
from .functional import focal_aggregate
from .mixer import CSM, IEM, ULM
from .window import FocalWindow

__version__ = "0.2.0"

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
    "available_backends",
    "create_layer",
    "focal_aggregate",
    "register_layer",
    "set_backend",
    "unavailable_reason",
    "use_backend",
]
