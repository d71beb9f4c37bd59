"""A graph of one image becomes one of any number: N, by its name in ONNX.

The graph is written, and brought to its precision, for one image: shapes are known then, and a
backbone's own constants can be folded. What holds the number fast are the shapes that are reshaped
to, and nothing else; a zero there stands for the size that is read.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from engines.batches import BATCH


def with_symbolic_batch(model: bytes) -> bytes:
    """A graph of one image for N of them; one that cannot be is given back as it is.

    Args:
        model: serialised ONNX, static shapes, batch 1.

    Returns:
        Serialised ONNX whose input and outputs have a first axis named `BATCH`.
    """
    parsed = onnx.load_model_from_string(model)
    graph = parsed.graph
    sizes = _sizes(shape_inference.infer_shapes(parsed).graph)
    constants = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        target = numpy_helper.to_array(constants[node.input[1]])
        if sizes.get(node.input[0], (0,))[:1] == (1,) and target[:1].tolist() == [1]:
            free = [-1] if len(target) == 1 else [0, *target[1:].tolist()]
            name = f"{node.input[1]}/any"
            if name not in constants:
                constants[name] = numpy_helper.from_array(np.array(free, np.int64), name)
                graph.initializer.append(constants[name])
            node.input[1] = name
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]
    _remove_unused(graph)
    found = shape_inference.infer_shapes(parsed, data_prop=True).graph
    free_outputs = [value.type.tensor_type.shape.dim[0].dim_param for value in found.output]
    if any(name != BATCH for name in free_outputs) or not _infers(parsed):
        return model
    return bytes(parsed.SerializeToString())


def _sizes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    return {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }


def _remove_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _infers(model: onnx.ModelProto) -> bool:
    """Whether the shapes of two images agree all the way through."""
    several = onnx.ModelProto()
    several.CopyFrom(model)
    for value in (*several.graph.input, *several.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    try:
        shape_inference.infer_shapes(several, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError:
        return False
    return True
