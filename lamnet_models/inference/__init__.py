"""Upscale images, files and folders with a super-resolution network."""

from .planner import TilePlan
from .upscaler import UpscaleOutput, Upscaler, upscale

__all__ = ["TilePlan", "UpscaleOutput", "Upscaler", "upscale"]
