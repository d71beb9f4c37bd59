"""A defect of OpenVINO's int8 (2026.4) and the way around it.

Where a concatenation is rounded to int8 for a convolution, OpenVINO rounds each part before it is
concatenated, as bytes without a sign, and loses the shift that goes with them: a 3x3 convolution
of random numbers is off by a quarter of its size. With the shift spelt out, bytes from 0 to 255
around 128, the same values come out right. TensorRT wants bytes with a sign, so the graph has
those, and they are changed here, on the way in.
"""

from __future__ import annotations

import numpy as np

MIDDLE = 128


def concats_rounded_without_sign(model: bytes) -> bytes:
    """Round what is concatenated to 0..255 around 128 instead of -128..127; the same numbers.

    Args:
        model: serialised ONNX.

    Returns:
        The same bytes where nothing is to be changed.
    """
    if b"Concat" not in model:
        return model
    import onnx  # takes a while, and graphs of other precisions do not need it
    from onnx import numpy_helper

    whole = onnx.load_model_from_string(model)
    concats = {node.output[0] for node in whole.graph.node if node.op_type == "Concat"}
    rounding = [
        node
        for node in whole.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] in concats
    ]
    if not rounding:
        return model
    middle = "openvino/middle"
    whole.graph.initializer.append(numpy_helper.from_array(np.array(MIDDLE, np.uint8), middle))
    integers = {node.output[0] for node in rounding}
    for node in whole.graph.node:
        reads = node.op_type == "DequantizeLinear" and node.input[0] in integers
        if reads or node in rounding:
            node.input[2] = middle
    return bytes(whole.SerializeToString())
