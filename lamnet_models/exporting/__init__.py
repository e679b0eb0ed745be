"""LAMNet as programs that run without this package, each compared with PyTorch before it is kept."""

from .exporter import FORMATS, SIZES, TOLERANCES, Export, export

__all__ = ["FORMATS", "SIZES", "TOLERANCES", "Export", "export"]
