"""Image files: read, written, and what each format can hold."""

from .formats import READABLE, WRITABLE, refusal
from .picture import Picture
from .reading import read_image
from .writing import write_image

__all__ = ["READABLE", "WRITABLE", "Picture", "read_image", "refusal", "write_image"]
