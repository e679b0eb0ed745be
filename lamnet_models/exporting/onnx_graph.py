"""An ONNX graph under construction."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor

OPSET = 20
"""Version of ONNX's operators: the first with GELU, and what ``torch.onnx`` writes too."""

_IR_VERSION = 9  # the file format's, of the same release of ONNX: any later one would shut out runtimes for nothing


class Graph:
    """Nodes and constants, added one by one; a value is known by its name.

    Args:
        dtype: Type of the weights and of what is computed, float32 or float16.

    Attributes:
        scope: What the names of the nodes to come begin with.
    """

    def __init__(self, dtype: type[np.floating]) -> None:
        self.dtype = np.dtype(dtype)
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, onnx.TensorProto] = {}

    @property
    def dtype_code(self) -> int:
        """ONNX's number of the type of the weights."""
        return helper.np_dtype_to_tensor_dtype(self.dtype)

    def constant(self, value: np.ndarray) -> str:
        """Adds a constant; equal ones are kept once."""
        key = value.dtype.str, value.shape, value.tobytes()
        if key not in self._constants:
            name = f"constant{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return self._constants[key].name

    def integers(self, *values: int) -> str:
        """Adds a list of integers, such as axes or a shape."""
        return self.constant(np.array(values, np.int64))

    def weight(self, value: Tensor | np.ndarray | float) -> str:
        """Adds a constant in the type of the weights."""
        value = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        return self.constant(value.astype(self.dtype))

    def op(
        self, op_type: str, *inputs: str, outputs: int | None = None, result: str | None = None, **attributes: Any
    ) -> Any:
        """Adds a node.

        Args:
            op_type: Its operator.
            *inputs: What it reads.
            outputs: How many values it makes, if they are to come as a list.
            result: The name of what it makes, if that matters.
            **attributes: Its attributes.

        Returns:
            The name of what it makes, or a list of names if ``outputs`` is given.
        """
        name = f"{self.scope}{op_type}_{len(self._nodes)}"
        names = [result or name] if outputs is None else [f"{name}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op_type, inputs, names, name=name, **attributes))
        return names[0] if outputs is None else names

    def model(self, inputs: dict[str, tuple], outputs: dict[str, tuple], metadata: dict[str, str]) -> onnx.ModelProto:
        """Returns the model.

        Args:
            inputs: Shapes of the inputs by name; a dimension is a number, or a name where it may be any.
            outputs: Shapes of the outputs by the name of the value.
            metadata: What to tell readers beside the graph.
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
