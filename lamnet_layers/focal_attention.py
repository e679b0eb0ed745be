"""Focal Separable Attention (FSA): window attention with cost linear in the window size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .adapters import register_layer
from .backend import check_backend
from .functional import focal_pass, fused_focal_pass
from .fusion import FusedLayer
from .ops.focal_pass import convolve, predict
from .validation import check_choice, check_divides, check_feature_map, check_int, refuse_scripting
from .window import FocalWindow, WindowLike


class FocalPass(nn.Module):
    """One pass of focal separable attention: weight prediction and aggregation along one axis.

    ``weights = tanh(Conv1×1(DWConv(x)))`` with a 1×P or P×1 kernel, then
    [`focal_aggregate`][lamnet_layers.focal_aggregate], by the function
    [`focal_pass`][lamnet_layers.functional.focal_pass].

    Args:
        dim: Number of channels D.
        num_heads: Number of heads; divides ``dim``. The channels of a head share weights.
        window: Focal window or pair (strides, steps); None for the default.
        axis: ``"horizontal"`` or ``"vertical"``.
        backend: See [`focal_aggregate`][lamnet_layers.focal_aggregate].
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, D, H, W) → (B, D, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        window: WindowLike = None,
        axis: str = "horizontal",
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = check_int("num_heads", num_heads, minimum=1)
        self.dim = check_divides("dim", dim, "num_heads", self.num_heads)
        self.window = FocalWindow.of(window)
        check_choice("axis", axis, ("horizontal", "vertical"))
        self.axis = axis
        self.backend = check_backend(backend)
        size, radius = self.window.size, self.window.radius
        kernel, padding = ((1, size), (0, radius)) if axis == "horizontal" else ((size, 1), (radius, 0))
        self.depthwise = nn.Conv2d(dim, dim, kernel, padding=padding, groups=dim, device=device, dtype=dtype)
        self.pointwise = nn.Conv2d(dim, num_heads * self.window.taps, 1, device=device, dtype=dtype)

    @property
    def receptive_radius(self) -> tuple[int, int]:
        """Rows and columns on each side that a pixel depends on."""
        return (0, self.window.radius) if self.axis == "horizontal" else (self.window.radius, 0)

    @property
    def _dim(self) -> int:
        return 3 if self.axis == "horizontal" else 2

    def fused(self) -> FusedLayer:
        """Return the CPU kernel of the pass."""
        modules = self.depthwise, self.pointwise
        return fused_focal_pass(self.dim, *modules, self.window, self.num_heads, self._dim, self.backend)

    def predict(self, x: Tensor) -> Tensor:
        """Return the weights of each pixel's taps, in (−1, 1), (B, num_heads·K, H, W)."""
        check_feature_map("x", x, self.dim)
        return predict(convolve(x, self.depthwise, self._dim), self.pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """Return the aggregated features, (B, D, H, W)."""
        return focal_pass(
            x,
            self.depthwise,
            self.pointwise,
            self.window,
            num_heads=self.num_heads,
            dim=self._dim,
            backend=self.backend,
        )

    __prepare_scriptable__ = refuse_scripting

    def extra_repr(self) -> str:
        """Return num_heads, window and axis."""
        return f"num_heads={self.num_heads}, window={self.window}, axis={self.axis!r}"


@register_layer("fsa")
class FocalSeparableAttention(nn.Module):
    """Focal separable attention (FSA): a horizontal pass followed by a vertical pass.

    Each pixel aggregates the cells of a focal window along its row, then along its column, with weights predicted from
    its neighborhood. The two passes cover P×P pixels at a cost linear in H·W and in the number of taps.

    The state dict contains the window's cells. Loading it into a layer with a different window is an error.

    Source: paper, section 3.2, and the spatial branch of its figure 3.

    Args:
        dim: Number of channels D.
        num_heads: Number of heads; divides ``dim``. The channels of a head share weights.
        window: Focal window or pair (strides, steps); None for the default (23 pixels, 13 taps).
        backend: See [`focal_aggregate`][lamnet_layers.focal_aggregate].
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        (B, D, H, W) → (B, D, H, W), any H, W ≥ 1.

    Raises:
        ValueError: If an argument is out of range or the input has the wrong shape.

    Example:
        >>> attention = FocalSeparableAttention(32, num_heads=4)
        >>> attention(torch.randn(1, 32, 48, 64)).shape
        torch.Size([1, 32, 48, 64])
    """

    cells: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        window: WindowLike = None,
        backend: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.horizontal, self.vertical = (
            FocalPass(dim, num_heads, window, axis, backend, device=device, dtype=dtype)
            for axis in ("horizontal", "vertical")
        )
        self.register_buffer("cells", torch.tensor(self.window.cells, dtype=torch.int32, device=device))

    @property
    def window(self) -> FocalWindow:
        """The window of both passes."""
        return self.horizontal.window

    @property
    def num_heads(self) -> int:
        """Number of heads."""
        return self.horizontal.num_heads

    @property
    def receptive_radius(self) -> tuple[int, int]:
        """Rows and columns on each side that a pixel depends on."""
        return (self.window.radius, self.window.radius)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended features, (B, D, H, W)."""
        return self.vertical(self.horizontal(x))

    __prepare_scriptable__ = refuse_scripting

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        cells = state_dict.get(f"{prefix}cells")
        # Different windows can have weights of equal shapes.
        if cells is not None and not cells.is_meta and cells.tolist() != [list(cell) for cell in self.window.cells]:
            errors.append(
                f"{prefix}cells must match {self.window}, got a checkpoint with the cells (offset, length) "
                f"{cells.tolist()}"
            )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
