"""LAMNet as programs that run without this package, each compared with PyTorch before it is kept."""

from .exporter import FORMATS, SIZES, TOLERANCES, Export, export
from .session import to_onnxruntime

__all__ = ["FORMATS", "SIZES", "TOLERANCES", "Export", "export", "to_onnxruntime"]
