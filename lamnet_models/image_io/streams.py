"""Headers of AV1 and HEVC streams, as far as their color code points."""

from __future__ import annotations

_MAX_BYTES = 4096  # of a header; damaged files declare more, and each read copies all


class _Bits:
    """Bits of a header, most significant first.

    Attributes:
        value: The header as a number.
        left: Number of bits that are not yet read.
    """

    def __init__(self, data: bytes) -> None:
        data = data[:_MAX_BYTES]
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def read(self, count: int = 1) -> int:
        """Return the next bits as a number.

        Raises:
            LookupError: If the header is too short.
        """
        if count > self.left:
            raise LookupError("header is too short")
        self.left -= count
        return self.value >> self.left & (1 << count) - 1

    def read_golomb(self) -> int:
        """Return the next unsigned Exp-Golomb code."""
        zeros = 0
        while not self.read():
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def skip_golomb(self, count: int) -> None:
        """Skip Exp-Golomb codes, signed or unsigned."""
        for _ in range(count):
            self.read_golomb()


class AV1Header(_Bits):
    """AV1 sequence header, sections 5.5.1 and 5.5.2 of the specification."""

    def code_points(self) -> tuple[int, int] | None:
        """Return color primaries and transfer function; they are the bits before ``left``. None if not stored."""
        profile, _, is_reduced = self.read(3), self.read(), self.read()
        if is_reduced:
            self.read(5)
        else:
            self._skip_operating_points()
        sizes = self.read(4) + 1, self.read(4) + 1
        self.read(sum(sizes))
        if not is_reduced and self.read():  # frame numbers
            self.read(7)
        self.read(3)
        if not is_reduced:
            self._skip_tools()
        self.read(3)
        is_deep = self.read()
        if profile == 2 and is_deep:
            self.read()  # 12 bits
        if profile != 1:
            self.read()  # monochrome
        return (self.read(8), self.read(8)) if self.read() else None

    def _skip_operating_points(self) -> None:
        delay_size = 0
        if self.read():  # timing
            self.read(64)
            if self.read():
                self.read_golomb()
            if self.read():  # decoder model
                delay_size = self.read(5) + 1
                self.read(42)
        has_display_delay = self.read()
        for _ in range(self.read(5) + 1):
            self.read(12)
            if self.read(5) > 7:
                self.read()
            if delay_size and self.read():
                self.read(2 * delay_size + 1)
            if has_display_delay and self.read():
                self.read(4)

    def _skip_tools(self) -> None:
        self.read(4)
        has_order_hint = self.read()
        if has_order_hint:
            self.read(2)
        chooses_screen_content = self.read()
        if (chooses_screen_content or self.read()) and not self.read():
            self.read()
        if has_order_hint:
            self.read(3)


class HEVCHeader(_Bits):
    """HEVC sequence parameter set, sections 7.3.2.2, 7.3.3, 7.3.4, 7.3.7 and E.2.1 of ITU-T H.265.

    Args:
        data: The NAL unit.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data[2:].replace(b"\0\0\3", b"\0\0"))  # without NAL header and emulation prevention

    def code_points(self) -> tuple[int, int] | None:
        """Return color primaries and transfer function, None if not stored."""
        self.read(4)
        sub_layers = self.read(3)
        self.read(1)
        self._skip_profiles(sub_layers)
        self.read_golomb()
        if self.read_golomb() == 3:  # 4:4:4
            self.read()
        self.skip_golomb(2)  # size
        if self.read():  # window
            self.skip_golomb(4)
        self.skip_golomb(2)  # depths
        order_bits = self.read_golomb() + 4
        self.skip_golomb(3 * (sub_layers + 1 if self.read() else 1))
        self.skip_golomb(6)  # blocks
        if self.read() and self.read():
            self._skip_scaling_lists()
        self.read(2)
        if self.read():  # PCM
            self.read(8)
            self.skip_golomb(2)
            self.read()
        self._skip_reference_sets(self.read_golomb())
        if self.read():  # long-term references
            self.read(self.read_golomb() * (order_bits + 1))
        self.read(2)
        if not self.read():  # usability information
            return None
        if self.read() and self.read(8) == 255:  # aspect ratio
            self.read(32)
        if self.read():  # overscan
            self.read()
        if not self.read():  # video signal
            return None
        self.read(4)
        return (self.read(8), self.read(8)) if self.read() else None

    def _skip_profiles(self, sub_layers: int) -> None:
        self.read(96)
        present = [(self.read(), self.read()) for _ in range(sub_layers)]
        if sub_layers:
            self.read(2 * (8 - sub_layers))
        for has_profile, has_level in present:
            self.read(88 * has_profile + 8 * has_level)

    def _skip_scaling_lists(self) -> None:
        for size in range(4):
            for _ in range(0, 6, 3 if size == 3 else 1):
                if not self.read():
                    self.read_golomb()  # copied from another list
                else:
                    self.skip_golomb(min(64, 16 << 2 * size) + (size > 1))

    def _skip_reference_sets(self, count: int) -> None:
        pictures = 0
        for index in range(count):
            if index and self.read():  # predicted from the previous set
                self.read()
                self.read_golomb()
                pictures = sum(self.read() or self.read() for _ in range(pictures + 1))
                continue
            pictures = self.read_golomb() + self.read_golomb()
            for _ in range(pictures):
                self.read_golomb()
                self.read()
