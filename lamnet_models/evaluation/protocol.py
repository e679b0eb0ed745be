"""Evaluation protocols."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Protocol:
    """Border and channel of PSNR and SSIM on SR images clamped and rounded to 8 bits.

    Attributes:
        name: Name of the protocol.
        border: Pixels cropped at each edge; None for the scale factor.
        channel: ``"y"``: luma; ``"rgb"``: all channels.
    """

    name: str
    border: int | None = None
    channel: str = "y"

    def border_at(self, scale: int) -> int:
        """Return the pixels cropped at each edge for a scale."""
        return scale if self.border is None else self.border

    def describe(self, scale: int) -> str:
        """Return a one-line description for a scale."""
        border = self.border_at(scale)
        return f"PSNR and SSIM on {self.channel.upper()}, {border} border pixels cropped ({self.name} protocol)"


PROTOCOLS = {protocol.name: protocol for protocol in (Protocol("standard"), Protocol("lamnet", border=4))}
"""Protocols by name: ``standard`` as in most papers, ``lamnet`` as in the original LAMNet."""


def resolve_protocol(name: str = "standard", border: int | None = None, channel: str | None = None) -> Protocol:
    """Return a named protocol, optionally with another border or channel.

    Args:
        name: ``"standard"`` or ``"lamnet"``.
        border: Pixels cropped at each edge, at least 0, instead of the protocol's.
        channel: ``"y"`` or ``"rgb"``, instead of the protocol's.

    Raises:
        ValueError: If an argument is out of range.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    if border is not None and (not isinstance(border, int) or border < 0):
        raise ValueError(f"border must be an integer of at least 0, got {border!r}")
    if channel not in (None, "y", "rgb"):
        raise ValueError(f"channel must be 'y' or 'rgb', got {channel!r}")
    protocol = PROTOCOLS[name]
    custom = replace(
        protocol,
        border=protocol.border if border is None else border,
        channel=channel or protocol.channel,
    )
    return custom if custom == protocol else replace(custom, name="own")
