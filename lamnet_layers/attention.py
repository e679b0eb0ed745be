"""Focal Separable Attention: a window attention whose cost is linear in the window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._checks import check_choice, check_divides, check_feature_map, check_int
from ._tiles import in_tiles
from .backends.select import check_backend, is_fused
from .functional import focal_aggregate
from .pointwise import PointwiseConv
from .window import FocalWindow, WindowLike


def _tanh_(x: Tensor) -> Tensor:
    # 2σ(2x) − 1, to 2e-7: what a compiler makes of tanh for a CPU takes twice as long, and half precision loses digits.
    if torch.compiler.is_compiling() and x.device.type == "cpu" and x.dtype != torch.float64:
        return x.to(torch.float32).mul_(2).sigmoid_().sub(0.5).mul_(2).to(x.dtype)
    # In place on a view, autograd would copy the gradient several times. A tracer compares with and without gradients.
    return x.tanh() if x.requires_grad and not torch.jit.is_tracing() else x.tanh_()


class FocalPass(nn.Module):
    """One pass of focal separable attention: predicts each pixel's weights along an axis and aggregates with them.

    ``weights = tanh(Conv1×1(DWConv P along the axis (x)))``, then [`focal_aggregate`][lamnet_layers.focal_aggregate].
    The tanh is in the released network and not in the paper.

    Args:
        channels: Number of channels D.
        heads: Number of groups of channels that share weights; divides ``channels``.
        window: A window, a pair (strides, steps), or None for the default one.
        axis: ``"horizontal"`` or ``"vertical"``.
        backend: Implementation of the aggregation, see [`focal_aggregate`][lamnet_layers.focal_aggregate].
        device: Device of the parameters.
        dtype: Type of the parameters.

    Shape:
        (B, D, H, W) → (B, D, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of its range, or the input has another shape.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        window: WindowLike = None,
        axis: str = "horizontal",
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.heads = check_int("heads", heads, minimum=1)
        self.channels = check_divides("channels", channels, "heads", self.heads)
        self.window = FocalWindow.of(window)
        check_choice("axis", axis, ("horizontal", "vertical"))
        self.axis = axis
        self.backend = check_backend(backend)
        size, radius = self.window.size, self.window.radius
        kernel, padding = ((1, size), (0, radius)) if axis == "horizontal" else ((size, 1), (radius, 0))
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, padding=padding, groups=channels, device=device, dtype=dtype
        )
        self.pointwise = PointwiseConv(channels, heads * self.window.taps, device=device, dtype=dtype)

    def predict(self, x: Tensor) -> Tensor:
        """Returns the weights in (−1, 1) of each pixel's taps, (B, heads·K, H, W)."""
        check_feature_map("x", x, self.channels)
        return _tanh_(self.pointwise.planes(self._gather(x)))

    def _gather(self, x: Tensor) -> Tensor:
        if self.axis == "horizontal":  # many times faster than along a plane's rows
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        return self.depthwise(x)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the aggregated features, (B, D, H, W)."""
        check_feature_map("x", x, self.channels)
        reach = (0, None) if self.axis == "horizontal" else (None, 0)
        return in_tiles(self, self._attend, x, max(self.channels, self.heads * self.window.taps), reach)

    def _attend(self, x: Tensor) -> Tensor:
        dim = -1 if self.axis == "horizontal" else -2
        if is_fused(self.backend, x.device.type):
            from .backends import fused

            matrix, bias = self.pointwise.weight.flatten(1), self.pointwise.bias
            rings = list(self.window.strides), list(self.window.steps)
            return fused.focal_pass(x, self._gather(x), matrix, bias, *rings, self.heads, dim % 4)
        return focal_aggregate(x, self.predict(x), self.window, heads=self.heads, dim=dim, backend=self.backend)

    def extra_repr(self) -> str:
        """Returns what the two convolutions below do not show."""
        return f"heads={self.heads}, window={self.window}, axis={self.axis!r}"


class FocalSeparableAttention(nn.Module):
    """Focal separable attention (FSA): a horizontal pass, then a vertical one on its result.

    Each pixel weighs the cells of a focal window along its row, then along its column, with weights predicted from its
    surroundings; together the two passes see P×P pixels at a cost linear in H·W and in the window.

    The state dict carries the window's cells beside the weights, so that a checkpoint says which window it was made
    for; loading it into a layer with another window is an error.

    Source: paper, section 3.2, and the spatial branch of its figure 3.

    Args:
        channels: Number of channels D.
        heads: Number of groups of channels that share weights; divides ``channels``.
        window: A window, a pair (strides, steps), or None for the default one (23 pixels, 13 taps).
        backend: Implementation of the aggregation, see [`focal_aggregate`][lamnet_layers.focal_aggregate].
        device: Device of the parameters.
        dtype: Type of the parameters.

    Shape:
        (B, D, H, W) → (B, D, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of its range, or the input has another shape.

    Example:
        >>> attention = FocalSeparableAttention(32, heads=4)
        >>> attention(torch.randn(1, 32, 48, 64)).shape
        torch.Size([1, 32, 48, 64])
    """

    cells: Tensor

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        window: WindowLike = None,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.horizontal, self.vertical = (
            FocalPass(channels, heads, window, axis, backend, device=device, dtype=dtype)
            for axis in ("horizontal", "vertical")
        )
        self.register_buffer("cells", torch.tensor(self.window.cells, dtype=torch.int32, device=device))

    @property
    def window(self) -> FocalWindow:
        """The window of both passes."""
        return self.horizontal.window

    @property
    def heads(self) -> int:
        """Number of groups of channels that share weights."""
        return self.horizontal.heads

    def forward(self, x: Tensor) -> Tensor:
        """Returns the attended features, (B, D, H, W)."""
        return self.vertical(self.horizontal(x))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        cells = state_dict.get(f"{prefix}cells")
        # Two windows can have weights of the same shapes; only the cells tell them apart.
        if cells is not None and not cells.is_meta and cells.tolist() != [list(cell) for cell in self.window.cells]:
            errors.append(
                f"{prefix}cells: the checkpoint's window has the cells (offset, length) {cells.tolist()}, "
                f"but this layer is built for {self.window}"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
