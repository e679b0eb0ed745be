"""The layers of LAMNet, each usable alone in any PyTorch network.

Every layer maps feature maps (B, C, H, W) to feature maps of the same shape; those with parameters take ``device=`` and
``dtype=``. ``TokenAdapter`` runs any of them on tokens, and ``create_layer`` makes them from names.
"""

from .attention import FocalPass, FocalSeparableAttention
from .backends.select import use_backend
from .block import LAMBlock
from .channel import CSM
from .exchange import IEM
from .factory import create_layer
from .feedforward import DGFN, FFN, GDFN
from .functional import focal_aggregate
from .local_attention import MHDLSA
from .mixer import ULM
from .norm import ChannelLayerNorm
from .residual import PreNormResidual, ScaledResidual
from .tokens import TokenAdapter
from .window import FocalWindow

__version__ = "0.1.0"

__all__ = [
    "CSM",
    "DGFN",
    "FFN",
    "GDFN",
    "IEM",
    "MHDLSA",
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
    "use_backend",
]
