"""Upscale images, files and folders with a super-resolution network."""

from .upscaler import Upscaler, upscale

__all__ = ["Upscaler", "upscale"]
