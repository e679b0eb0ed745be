"""How networks are measured: what papers agree on, and where they do not."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Protocol:
    """A way to measure an enlarged image: clamped, rounded to 8 bits, without its border.

    Attributes:
        name: Its name.
        border: Pixels left out at each edge; None for as many as the scale.
        channel: ``"y"``: PSNR and SSIM on the luma; ``"rgb"``: over all channels.
    """

    name: str
    border: int | None = None
    channel: str = "y"

    def border_at(self, scale: int) -> int:
        """Returns the pixels left out at each edge at a scale."""
        return scale if self.border is None else self.border

    def describe(self, scale: int) -> str:
        """Returns what is measured at a scale, for a person to read."""
        border = self.border_at(scale)
        return f"PSNR and SSIM on {self.channel.upper()}, {border} pixels of border left out ({self.name} protocol)"


PROTOCOLS = {protocol.name: protocol for protocol in (Protocol("standard"), Protocol("lamnet", border=4))}
"""The protocols with a name: ``standard`` is nearly every paper's, ``lamnet`` the released LAMNet's."""


def resolve_protocol(name: str = "standard", border: int | None = None, channel: str | None = None) -> Protocol:
    """Returns a protocol by its name, or one that differs from it.

    Args:
        name: ``"standard"`` or ``"lamnet"``.
        border: Pixels left out at each edge, at least 0, instead of the protocol's.
        channel: ``"y"`` or ``"rgb"``, instead of the protocol's.

    Raises:
        ValueError: If an argument is out of its range.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}, but it must be one of {', '.join(PROTOCOLS)}")
    if border is not None and (not isinstance(border, int) or border < 0):
        raise ValueError(f"border is {border!r}, but it must be an integer of at least 0")
    if channel not in (None, "y", "rgb"):
        raise ValueError(f"channel is {channel!r}, but it must be 'y' or 'rgb'")
    protocol = PROTOCOLS[name]
    own = replace(
        protocol,
        border=protocol.border if border is None else border,
        channel=channel or protocol.channel,
    )
    return own if own == protocol else replace(own, name="own")
