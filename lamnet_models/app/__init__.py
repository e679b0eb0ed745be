"""Local web page for upscaling images; needs the extra ``app``."""

from .serving import serve

__all__ = ["serve"]
