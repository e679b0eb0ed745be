"""Half precision with a net: what leaves its range is computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..devices import without_onednn
from ..errors import LAMNetError


class Autocast:
    """Computes in half precision, and again in the network's own type what did not come out finite.

    That is decided image by image: what becomes of one does not depend on the others of its batch.

    Args:
        device: Where to compute.
        dtype: The network's own type.
        half: Type of autocast; None computes all in the network's own type.

    Attributes:
        overflowed: Whether anything has been computed again.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, half: torch.dtype | None = None) -> None:
        self.device = device
        self.overflowed = False
        self._dtype = dtype
        self._half = half

    def __call__(self, compute: Callable[..., Tensor], *sources: Tensor) -> Tensor:
        """Returns ``compute(*sources)``, at least in float32.

        Args:
            compute: From tensors (B, C, h, w) to one of as many images.
            sources: On any device, of any type.
        """
        sources = tuple(source.to(self.device, self._dtype) for source in sources)
        with self._autocast():
            out = compute(*sources)
        out = out.to(torch.promote_types(out.dtype, torch.float32))
        if self._half and (bad := ~out.isfinite().flatten(1).all(1)).any():
            self.overflowed = True
            out[bad] = compute(*(source[bad] for source in sources)).to(out.dtype)
        return out

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        on_cpu, enabled = self.device.type == "cpu", self._half is not None
        with (
            without_onednn(on_cpu and self._half == torch.float16),
            torch.autocast(self.device.type, self._half, enabled=enabled),
        ):
            yield

    @staticmethod
    def check(out: Tensor) -> Tensor:
        """Returns a network's result, which has to be finite now.

        Raises:
            LAMNetError: If it is not.
        """
        if not out.isfinite().all():
            raise LAMNetError("the network's result is not finite; its weights are damaged or do not fit")
        return out
