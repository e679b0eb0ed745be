"""Builder of ONNX graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

OPSET = 20
"""ONNX opset version: the first with Gelu, also used by ``torch.onnx``."""

_IR_VERSION = 9  # of the same ONNX release; later versions would exclude runtimes


class Graph:
    """Builder of an ONNX graph; values are referred to by name.

    Args:
        dtype: Dtype of weights and activations, float32 or float16.

    Attributes:
        scope: Prefix of the names of new nodes.
    """

    def __init__(self, dtype: type[np.floating]) -> None:
        self.dtype = np.dtype(dtype)
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

    def op(
        self, op_type: str, *inputs: str, outputs: int | None = None, result: str | None = None, **attributes: Any
    ) -> Any:
        """Add a node.

        Args:
            op_type: Operator type.
            *inputs: Names of the inputs.
            outputs: Number of outputs; None for one, returned as a name instead of a list.
            result: Name of the output; None for a generated name.
            **attributes: Attributes of the operator.

        Returns:
            Name of the output, or a list of names if ``outputs`` is set.
        """
        name = f"{self.scope}{op_type}_{len(self._nodes)}"
        names = [result or name] if outputs is None else [f"{name}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return names[0] if outputs is None else names

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
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="lamnet")
        model.ir_version = _IR_VERSION
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model
