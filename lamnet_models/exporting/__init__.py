"""Export of LAMNet to programs that run without this package, verified against PyTorch."""

from .exporter import FORMATS, OPSETS, SIZES, TOLERANCES, Export, export, to_onnxruntime

__all__ = ["FORMATS", "OPSETS", "SIZES", "TOLERANCES", "Export", "export", "to_onnxruntime"]
