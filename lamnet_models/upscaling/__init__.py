"""Images in, larger images out: one by one, in tiles, whole folders of files."""

from .upscaler import Upscaler, upscale

__all__ = ["Upscaler", "upscale"]
