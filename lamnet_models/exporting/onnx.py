"""LAMNet as an ONNX graph, optimized for runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor, nn

from lamnet_layers import CSM, DGFN, IEM, ULM, FocalPass, PreNormResidual

from ..lamnet import LAMNet
from ..paper.ablations import FFN, GDFN

_IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9}  # by opset, of the same ONNX release; later ones would exclude runtimes


class Graph:
    """Builder of an ONNX graph; values are referred to by name.

    Args:
        dtype: Dtype of weights and activations, float32 or float16.
        opset: ONNX opset version, 17 to 20.

    Attributes:
        scope: Prefix of the names of new nodes.
    """

    def __init__(self, dtype: type[np.floating], opset: int) -> None:
        self.dtype = np.dtype(dtype)
        self.opset = opset
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, onnx.TensorProto] = {}

    @property
    def dtype_code(self) -> int:
        """ONNX type code of the weights."""
        return helper.np_dtype_to_tensor_dtype(self.dtype)

    def constant(self, value: np.ndarray) -> str:
        """Add a constant; equal constants are shared."""
        key = value.dtype.str, value.shape, value.tobytes()
        if key not in self._constants:
            name = f"constant{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return self._constants[key].name

    def integers(self, *values: int) -> str:
        """Add an int64 constant, such as axes or a shape."""
        return self.constant(np.array(values, np.int64))

    def weight(self, value: Tensor | np.ndarray | float) -> str:
        """Add a constant in the dtype of the weights."""
        value = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        return self.constant(value.astype(self.dtype))

    def op(self, op_type: str, *inputs: str, result: str | None = None, **attributes: Any) -> str:
        """Add a node with one output.

        Args:
            op_type: Operator type.
            *inputs: Names of the inputs.
            result: Name of the output; None for a generated name.
            **attributes: Attributes of the operator.

        Returns:
            Name of the output.
        """
        name = f"{self.scope}{op_type}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op_type, inputs, [result or name], name=name, **attributes))
        return result or name

    def gelu(self, x: str) -> str:
        """Add the exact GELU, a single node from opset 20 on."""
        if self.opset >= 20:
            return self.op("Gelu", x)
        half, root, one = (self.weight(value) for value in (0.5, 0.5**0.5, 1.0))
        cdf = self.op("Mul", self.op("Add", self.op("Erf", self.op("Mul", x, root)), one), half)
        return self.op("Mul", x, cdf)

    def mean(self, x: str, axis: int) -> str:
        """Add the mean over an axis, which is kept."""
        if self.opset >= 18:
            return self.op("ReduceMean", x, self.integers(axis))
        return self.op("ReduceMean", x, axes=[axis])

    def model(self, inputs: dict[str, tuple], outputs: dict[str, tuple], metadata: dict[str, str]) -> onnx.ModelProto:
        """Return the ONNX model.

        Args:
            inputs: Shapes of the inputs by name; a dimension is a number, or a name if dynamic.
            outputs: Shapes of the outputs by name.
            metadata: Metadata properties of the model.
        """
        graph = helper.make_graph(
            self._nodes,
            "LAMNet",
            [helper.make_tensor_value_info(name, self.dtype_code, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, self.dtype_code, shape) for name, shape in outputs.items()],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="lamnet")
        model.ir_version = _IR_VERSIONS[self.opset]
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model


INPUT, OUTPUT = "image", "upscaled"
"""Names of the input and output of the graph."""

_PLANES, _CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def network_to_onnx(model: LAMNet, metadata: dict[str, str], half: bool = False, opset: int = 20) -> onnx.ModelProto:
    """Return a network as an ONNX model, with dynamic batch, height and width.

    Args:
        model: Network to convert.
        metadata: Metadata properties of the model.
        half: Whether weights, images and activations are float16. IEM's means and products remain float32, as in
            PyTorch.
        opset: ONNX opset version, 17 to 20.
    """
    writer = _Writer(model, np.float16 if half else np.float32, opset)
    writer.network()
    batch, channels, scale = "batch", model.in_chans, model.scale
    return writer.graph.model(
        {INPUT: (batch, channels, "height", "width")},
        {OUTPUT: (batch, channels, f"{scale}*height", f"{scale}*width")},
        metadata,
    )


class _Writer:
    """Writer of layers; values are planes, (B, C, H, W), or pixels, (B·H·W, C)."""

    def __init__(self, model: LAMNet, dtype: type[np.floating], opset: int) -> None:
        self.model = model
        self.graph = Graph(dtype, opset)
        self.op, self.weight, self.integers = self.graph.op, self.graph.weight, self.graph.integers

    def network(self) -> None:
        """Write the whole network."""
        model, op = self.model, self.op
        shallow = self._conv(op("Sub", INPUT, self.weight(model.mean)), model.conv_first)
        self._read_shape(shallow)
        x = self._to_pixels(shallow, model.num_features)
        for index, block in enumerate(model.blocks):
            y = x
            for number, layer in enumerate(block.layers):
                with self._scope(f"blocks.{index}.layers.{number}"):
                    y = self._sub_block(y, layer)
            x = op("Add", x, op("Mul", y, self.weight(block.residual.alpha.flatten())))
        features = self._conv(self._to_planes(x, model.num_features), model.conv_body, model.residual.alpha.flatten())
        last = model.upsample[0]
        mean = model.mean.flatten().repeat_interleave(model.scale**2)  # PixelShuffle maps scale² channels to one
        upsampled = self._conv(op("Add", shallow, features), last, bias=last.bias + mean)
        op("DepthToSpace", upsampled, blocksize=model.scale, mode="CRD", result=OUTPUT)

    def _sub_block(self, x: str, block: PreNormResidual) -> str:
        norm = block.norm
        affine = self.weight(norm.weight), self.weight(norm.bias)
        y = self.op("LayerNormalization", x, *affine, axis=-1, epsilon=norm.eps)
        write = self._mixer if isinstance(block.layer, ULM) else self._feed_forward
        return self.op("Add", x, write(y, block.layer, block.residual.alpha.flatten()))

    def _mixer(self, x: str, layer: ULM, alpha: Tensor) -> str:
        half = layer.dim // 2
        project, bias = _matrix(layer.proj_in), layer.proj_in.bias
        c = self._channel_branch(x, layer.channel, project[:half], bias[:half])
        a = self._to_planes(self._gemm(x, project[half:], bias[half:]), half)
        for branch in (layer.spatial.horizontal, layer.spatial.vertical):
            a = self._focal_pass(a, branch)
        a = self.op("Reshape", a, self.integers(0, 0, -1))
        if isinstance(layer.exchange, IEM):
            c, a = self._exchange(c, a, half)
        a = self.op("Reshape", self.op("Transpose", a, perm=[0, 2, 1]), self.integers(-1, half))
        return self._concat_projection((c, a), layer.proj_out, alpha)

    def _channel_branch(self, x: str, layer: nn.Module, project: Tensor, bias: Tensor) -> str:
        first = layer.reduce if isinstance(layer, CSM) else layer
        if isinstance(first, nn.Conv2d):  # linear: folded with the projection before it
            project, bias = _matrix(first) @ project, _matrix(first) @ bias + first.bias
        c = self._gemm(x, project, bias)
        if isinstance(layer, CSM):
            c = self._gemm(self.op("Relu", c), _matrix(layer.expand), layer.expand.bias)
        return c

    def _focal_pass(self, x: str, layer: FocalPass) -> str:
        taps = self.op("Tanh", self._conv(self._conv(x, layer.depthwise), layer.pointwise))
        window, axis = layer.window, 2 if layer.axis == "vertical" else 3
        means = {length: self._cell_means(x, layer.dim, length, window.radius, axis) for _, length in window.cells}
        taps = self.op("Reshape", taps, self.integers(0, layer.num_heads, window.taps, -1))
        out = None
        for index, (first, length) in enumerate(window.spans):
            # Not by one Split: WebGPU limits the number of outputs.
            weight = self.op("Slice", taps, self.integers(index), self.integers(index + 1), self.integers(2))
            start = window.radius + first
            end = (
                start - 2 * window.radius + length - 1 or np.iinfo(np.int64).max
            )  # relative to the end; 0 means up to the end
            cells = self.op("Slice", means[length], self.integers(start), self.integers(end), self.integers(axis))
            cells = self.op("Reshape", cells, self.integers(0, layer.num_heads, layer.dim // layer.num_heads, -1))
            weighted = self.op("Mul", cells, weight)
            out = weighted if out is None else self.op("Add", out, weighted)
        return self.op("Reshape", out, self._shape(self._batch, layer.dim, self._sides))

    def _cell_means(self, x: str, channels: int, length: int, edge: int, axis: int) -> str:
        """Write the means of ``length`` neighbors along an axis of the zero-padded image."""
        pads = [0] * axis + [edge] + [0] * (3 - axis)
        if length == 1:
            return self.op("Pad", x, self.integers(*pads, *pads)) if edge else x
        kernel = [length, 1] if axis == 2 else [1, length]
        weight = self.weight(np.full((channels, 1, *kernel), 1 / length))
        # AveragePool is many times slower in ONNX Runtime.
        return self.op("Conv", x, weight, kernel_shape=kernel, pads=[*pads[2:], *pads[2:]], group=channels)

    def _exchange(self, c: str, a: str, channels: int) -> tuple[str, str]:
        """Write the gating of c, in pixels, and a, (B, C, H·W); gates are computed in float32."""
        op, half = self.op, self.graph.dtype == np.float16
        wide_c, wide_a = (op("Cast", x, to=onnx.TensorProto.FLOAT) if half else x for x in (c, a))
        mean_c = op("Reshape", self.graph.mean(wide_c, 1), self._shape(self._batch, -1, 1))
        channel = op("Sigmoid", op("Div", op("MatMul", wide_a, mean_c), self._count))
        scaled = op("Mul", self.graph.mean(wide_a, 2), self.graph.constant(np.float32(1 / channels)))
        wide_c = op("Reshape", wide_c, self._shape(self._batch, -1, channels))
        spatial = op("Reshape", op("Sigmoid", op("MatMul", wide_c, scaled)), self.integers(-1, 1))
        if half:
            spatial, channel = (op("Cast", gate, to=self.graph.dtype_code) for gate in (spatial, channel))
        return op("Mul", c, spatial), op("Mul", a, channel)

    def _feed_forward(self, x: str, layer: DGFN | GDFN | FFN, alpha: Tensor) -> str:
        project, bias = _matrix(layer.proj_in), layer.proj_in.bias
        if isinstance(layer, FFN):
            return self._concat_projection((self.graph.gelu(self._gemm(x, project, bias)),), layer.proj_out, alpha)
        hidden, filters = layer.hidden_dim, layer.depthwise
        halves = []
        for part in (slice(hidden), slice(hidden, None)):
            y = self._to_planes(self._gemm(x, project[part], bias[part]), hidden)
            y = self._conv_node(y, filters.weight[part], filters.bias[part], filters.padding, hidden)
            halves.append(self._to_pixels(y, hidden))
        gate = self.graph.gelu(halves[0])
        gated = halves if isinstance(layer, DGFN) else halves[1:]
        return self._concat_projection([self.op("Mul", gate, y) for y in gated], layer.proj_out, alpha)

    def _concat_projection(self, parts: tuple[str, ...] | list[str], layer: nn.Conv2d, alpha: Tensor) -> str:
        """Write a 1×1 convolution of concatenated parts, scaled by ``alpha``, as a sum of products."""
        weights = (_matrix(layer) * alpha[:, None]).chunk(len(parts), dim=1)
        out = self.weight(layer.bias * alpha)
        for part, weight in zip(parts, weights, strict=True):
            out = self.op("Gemm", part, self.weight(weight), out, transB=1)
        return out

    def _gemm(self, x: str, weight: Tensor, bias: Tensor) -> str:
        return self.op("Gemm", x, self.weight(weight), self.weight(bias), transB=1)

    def _conv(self, x: str, layer: nn.Conv2d, scale: Tensor | None = None, bias: Tensor | None = None) -> str:
        weight, bias = layer.weight, layer.bias if bias is None else bias
        if scale is not None:
            weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale
        return self._conv_node(x, weight, bias, layer.padding, layer.groups)

    def _conv_node(self, x: str, weight: Tensor, bias: Tensor, padding: tuple[int, ...], groups: int) -> str:
        shape = {"kernel_shape": list(weight.shape[2:]), "pads": [*padding, *padding], "group": groups}
        return self.op("Conv", x, self.weight(weight), self.weight(bias), **shape)

    def _to_planes(self, x: str, channels: int) -> str:
        x = self.op("Reshape", x, self._shape(self._batch, self._sides, channels))
        return self.op("Transpose", x, perm=_PLANES)

    def _to_pixels(self, x: str, channels: int) -> str:
        return self.op("Reshape", self.op("Transpose", x, perm=_CHANNELS_LAST), self.integers(-1, channels))

    def _read_shape(self, planes: str) -> None:
        """Write the size-dependent values shared by all layers: shape and number of pixels."""
        shape = self.op("Shape", planes)
        bounds = ((self.integers(first), self.integers(end)) for first, end in ((0, 1), (2, 4)))
        self._batch, self._sides = (self.op("Slice", shape, *bound) for bound in bounds)
        self._count = self.op("Cast", self.op("ReduceProd", self._sides, keepdims=0), to=onnx.TensorProto.FLOAT)
        self._shapes: dict[tuple, str] = {}

    def _shape(self, *parts: str | int) -> str:
        if parts not in self._shapes:
            values = (part if isinstance(part, str) else self.integers(part) for part in parts)
            self._shapes[parts] = self.op("Concat", *values, axis=0)
        return self._shapes[parts]

    @contextmanager
    def _scope(self, name: str) -> Iterator[None]:
        self.graph.scope = f"{name}/"
        yield
        self.graph.scope = ""


def _matrix(layer: nn.Conv2d) -> Tensor:
    return layer.weight.flatten(1)
