"""Write torch modules into an ONNX graph, node by node, with names that say where they belong.

By hand rather than by tracing: the nodes are then those that every engine has a kernel for, and
their names are what the precision stage goes by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from calibrate.prn.graph.folding import Kernel, dense
from engines.engine import EXACT

MIN_HALF = 6e-8  # smaller weights are nothing in float16, and a warning in its conversion
AnyArray = npt.NDArray[Any]


class Nodes:
    """Appends nodes to a graph; each method returns the name of its result.

    A node is called like its result, so that both can be found again in any engine.

    Args:
        model: extended in place.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append any node with one result."""
        self._graph.node.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def has(self, name: str) -> bool:
        """Whether a node of this name was appended."""
        return any(node.name == name for node in reversed(self._graph.node))

    def constant(self, name: str, value: AnyArray) -> str:
        """Store a constant."""
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def output(
        self,
        name: str,
        kind: str,
        inputs: Sequence[str],
        *,
        shape: Sequence[int],
        **attributes: Any,
    ) -> None:
        """Append a node whose result is an output of the graph, float32 at every precision."""
        node = helper.make_node(kind, inputs, [name], name=f"{EXACT}{name}", **attributes)
        self._graph.node.append(node)
        self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def reshape(self, source: str, shape: Sequence[int], name: str) -> str:
        """Reshape to fixed sizes."""
        return self.node(
            "Reshape", [source, self.constant(f"{name}/shape", np.array(shape, np.int64))], name
        )

    def scale_by(self, source: str, scale: Tensor, bias: Tensor | None, *, name: str) -> str:
        """Multiply by `scale` and add `bias`, element by element."""
        result = self.node("Mul", [source, self.constant(f"{name}/scale", array(scale))], name)
        if bias is None:
            return result
        return self.node(
            "Add", [result, self.constant(f"{name}/bias", array(bias))], f"{name}/biased"
        )

    def conv(self, source: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, *, name: str) -> str:
        """A convolution, with the batch norm behind it folded in."""
        return self.dense(source, dense(conv, norm), name=name)

    def dense(self, source: str, kernel: Kernel, *, name: str) -> str:
        """A convolution whose padding is half its kernel, rounded down."""
        side = kernel.weight.shape[-1]
        weight = self.constant(f"{name}/weight", array(kernel.weight))
        given = [source, weight, self.constant(f"{name}/bias", array(kernel.bias))]
        return self.node(
            "Conv",
            given,
            name,
            kernel_shape=[side, side],
            strides=[kernel.stride] * 2,
            pads=[side // 2] * 4,
        )

    def sequence(self, source: str, modules: nn.Module, *, name: str) -> str:
        """Convolutions, each with or without a batch norm, and ReLU, one after the other.

        Raises:
            TypeError: another kind of module.
        """
        flat = [module for module in modules.modules() if not isinstance(module, nn.Sequential)]
        for index, module in enumerate(flat):
            after = flat[index + 1] if index + 1 < len(flat) else None
            norm = after if isinstance(after, nn.BatchNorm2d) else None
            if isinstance(module, nn.Conv2d):
                source = self.conv(source, module, norm, name=f"{name}/conv_{index}")
            elif isinstance(module, nn.ReLU):
                source = self.node("Relu", [source], f"{name}/relu_{index}")
            elif not isinstance(module, nn.BatchNorm2d | nn.Identity):
                raise TypeError(f"{name}: no ONNX nodes are known for {type(module).__name__}")
        return source

    def resize(self, source: str, *, factors: tuple[float, float], name: str) -> str:
        """Bilinear up-sampling by (height, width) factors, as torch's without `align_corners`."""
        if factors == (1.0, 1.0):
            return source
        scales = self.constant(f"{name}/factors", np.array([1, 1, *factors], np.float32))
        return self.node(
            "Resize",
            [source, "", scales],
            name,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )


def array(tensor: Tensor) -> AnyArray:
    """A tensor's values on the CPU, float32; what float16 cannot tell from 0 is 0."""
    values = tensor.detach().cpu().float().numpy().copy()
    values[np.abs(values) < MIN_HALF] = 0
    return values
