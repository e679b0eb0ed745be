"""The Hugging Face hub: networks in timm's form, there and back."""

from .upload import push, write_folder

__all__ = ["push", "write_folder"]
