"""Hugging Face hub: upload of models in timm's format."""

from .upload import push, write_folder

__all__ = ["push", "write_folder"]
