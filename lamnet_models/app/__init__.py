"""A local page in the browser on which pictures are enlarged by hand; needs the extra ``app``."""

from .serving import serve

__all__ = ["serve"]
