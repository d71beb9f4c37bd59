"""Write a backbone's ONNX graph node by node. No torch.

Only convolution, ReLU, Clip, Add and MaxPool are offered, with static weights and no shape
operators, so that any height and width can be set later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from calibrate.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, BackboneError
from calibrate.backbones.weights import Array
from engines.atomic_files import replace_file

Attributes = dict[str, int | list[int]]
OPSET = 17
IR_VERSION = 8  # the one that came with opset 17: the oldest readers in use accept it


@dataclass(frozen=True)
class StageOutput:
    """One output of a backbone: the tensor's name in the graph, its channels and its stride."""

    tensor: str
    channels: int
    stride: int


class GraphWriter:
    """Collects nodes and weights; each method returns the name of its result."""

    def __init__(self, *, half: bool = False) -> None:
        """Start an empty graph.

        Args:
            half: store the kernels as FP16, with a Cast to float32 before each use.
        """
        self._half = half
        self._nodes: list[tuple[str, list[str], str, Attributes]] = []
        self._weights: list[TensorProto] = []
        self._limits: list[str] = []

    def conv(
        self, source: str, weight: Array, bias: Array | None, *, stride: int = 1, groups: int = 1
    ) -> str:
        """Convolve with (C_out, C_in / groups, K, K), K odd, padded so that stride 1 keeps H, W."""
        index = len(self._nodes)
        kernel = weight.shape[2]
        names = [source, self._kernel(f"weight_{index}", weight)]
        if bias is not None:
            names.append(f"bias_{index}")
            self._weights.append(numpy_helper.from_array(np.ascontiguousarray(bias), names[2]))
        attributes: Attributes = {
            "kernel_shape": [kernel, kernel],
            "strides": [stride, stride],
            "pads": [kernel // 2] * 4,
            "dilations": [1, 1],
            "group": groups,
        }
        return self._node("Conv", names, attributes)

    def relu(self, source: str) -> str:
        """max(x, 0)."""
        return self._node("Relu", [source], {})

    def relu6(self, source: str) -> str:
        """min(max(x, 0), 6)."""
        if not self._limits:
            self._limits = ["zero", "six"]
            for name, value in (("zero", 0.0), ("six", 6.0)):
                self._weights.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return self._node("Clip", [source, *self._limits], {})

    def add(self, first: str, second: str) -> str:
        """Sum of two tensors of one shape."""
        return self._node("Add", [first, second], {})

    def maxpool(self, source: str) -> str:
        """Maximum over 3x3, stride 2, padded by 1."""
        attributes: Attributes = {
            "kernel_shape": [3, 3],
            "strides": [2, 2],
            "pads": [1, 1, 1, 1],
        }
        return self._node("MaxPool", [source], attributes)

    def model(self, stages: Mapping[str, StageOutput], *, name: str, source: str) -> ModelProto:
        """The complete, checked model.

        Args:
            stages: output name -> what it shows.
            name: such as ``resnet18``.
            source: which weights went in, and their licence.
        """
        renamed = {stage.tensor: output for output, stage in stages.items()}
        nodes = [
            _node(kind, [renamed.get(i, i) for i in inputs], renamed.get(output, output), given)
            for kind, inputs, output, given in self._nodes
        ]
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, "H", "W"])
        outputs = [
            helper.make_tensor_value_info(
                output, TensorProto.FLOAT, ["N", stage.channels, f"{output}_h", f"{output}_w"]
            )
            for output, stage in stages.items()
        ]
        graph = helper.make_graph(nodes, name, [image], outputs, self._weights)
        model = helper.make_model(
            graph, producer_name="protoedge", opset_imports=[helper.make_opsetid("", OPSET)]
        )
        model.ir_version = IR_VERSION
        strides = {output: stage.stride for output, stage in stages.items()}
        helper.set_model_props(model, _metadata(name, source=source, strides=strides))
        checker.check_model(model, full_check=True)
        return model

    def _kernel(self, name: str, weight: Array) -> str:
        values = np.ascontiguousarray(weight, dtype=np.float32)
        if not self._half:
            self._weights.append(numpy_helper.from_array(values, name))
            return name
        stored = f"{name}_half"
        self._weights.append(numpy_helper.from_array(values.astype(np.float16), stored))
        self._nodes.append(("Cast", [stored], name, {"to": int(TensorProto.FLOAT)}))
        return name

    def _node(self, kind: str, inputs: list[str], attributes: Attributes) -> str:
        output = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append((kind, inputs, output, attributes))
        return output


def write_model(model: ModelProto, *, output: Path) -> Path:
    """Write the file whole or not at all.

    Raises:
        BackboneError: the folder is missing or not writable.
    """
    try:
        replace_file(output, model.SerializeToString())
    except OSError as error:
        raise BackboneError(
            f"{output}: cannot be written ({error.strerror}); give a file in an existing folder "
            "that is writable and has space left"
        ) from error
    return output


def _node(kind: str, inputs: list[str], output: str, attributes: Attributes) -> NodeProto:
    node = helper.make_node(kind, inputs, [output])
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node


def _metadata(name: str, *, source: str, strides: dict[str, int]) -> dict[str, str]:
    return {
        "protoedge.kind": "backbone",
        "protoedge.name": name,
        "protoedge.mean": json.dumps(IMAGENET_MEAN),
        "protoedge.std": json.dumps(IMAGENET_STD),
        "protoedge.color": "rgb",
        "protoedge.stages": json.dumps(strides),
        "protoedge.source": source,
    }
