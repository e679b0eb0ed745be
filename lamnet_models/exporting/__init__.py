"""Export of LAMNet to programs that run without this package, verified against PyTorch."""

from .exporter import FORMATS, SIZES, TOLERANCES, Export, export, to_onnxruntime

__all__ = ["FORMATS", "SIZES", "TOLERANCES", "Export", "export", "to_onnxruntime"]
