"""Image file reading and writing, and format capabilities."""

from .formats import READABLE, WRITABLE, unsupported_reason
from .picture import Picture
from .read import read_image, read_rgb
from .write import write_image

__all__ = ["READABLE", "WRITABLE", "Picture", "read_image", "read_rgb", "unsupported_reason", "write_image"]
