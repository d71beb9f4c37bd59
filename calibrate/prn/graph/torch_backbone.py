"""A backbone's ONNX graph as a torch module, frozen for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx
import torch
from onnx import NodeProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from calibrate.backbones.backbone import Backbone, BackboneError

Inputs: TypeAlias = list[Tensor]


class FrozenBackbone(nn.Module):
    """Runs a backbone's graph, preprocessing included, in torch; nothing in it can be trained.

    It stays in evaluation mode whatever `train` is called with: a frozen network whose batch
    normalisation drifts is the likely cause of unstable re-implementations of PRN. (In our
    backbones it is folded, but the promise holds for any.)

    Args:
        backbone: its operators must be Conv, Relu, Clip, Add and MaxPool, as our exports' are.
        stages: which outputs are wanted; what only others need is not computed.

    Raises:
        BackboneError: another operator, or an attribute that torch has no counterpart of.
    """

    mean: Tensor  # (1, 3, 1, 1), of 0..255
    deviation: Tensor  # 1 / the standard deviation

    def __init__(self, backbone: Backbone, *, stages: Sequence[str]) -> None:
        super().__init__()
        graph = onnx.load_model_from_string(backbone.model).graph
        self.stages = tuple(stages)
        self._source = graph.input[0].name
        needed = _needed(graph.node, stages)
        self._steps = tuple(_step(node, name=backbone.name) for node in needed)
        used = {name for step in self._steps for name in step.inputs}
        self._weights: dict[str, str] = {}
        for tensor in graph.initializer:
            if tensor.name in used:
                self._weights[tensor.name] = f"weight_{len(self._weights)}"
                values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
                self.register_buffer(self._weights[tensor.name], values, persistent=False)
        for name, triple in (("mean", backbone.mean), ("deviation", backbone.std)):
            values = 255 * torch.tensor(triple).reshape(1, 3, 1, 1)
            values = values if name == "mean" else 1 / values
            self.register_buffer(name, values, persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBackbone:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Stages of images, by the same arithmetic as an inspector's graph.

        Args:
            images: (N, H, W, 3) uint8 BGR.

        Returns:
            Name -> (N, C, H / stride, W / stride).
        """
        planes = images.permute(0, 3, 1, 2).flip(1).float()
        known = {self._source: (planes - self.mean) * self.deviation}
        known.update({name: getattr(self, kept) for name, kept in self._weights.items()})
        for step in self._steps:
            known[step.output] = step.run([known[name] for name in step.inputs])
        return {name: known[name] for name in self.stages}


@dataclass(frozen=True)
class _Step:
    inputs: tuple[str, ...]
    output: str
    run: Callable[[Inputs], Tensor]


def _needed(nodes: Sequence[NodeProto], stages: Sequence[str]) -> list[NodeProto]:
    wanted, kept = set(stages), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _step(node: NodeProto, *, name: str) -> _Step:
    if node.op_type not in _OPERATORS:
        raise BackboneError(
            f"{name}: has the operator {node.op_type}, which PRN cannot train on (only "
            f"{', '.join(_OPERATORS)}); export the backbone with `edge backbone export`"
        )
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    run = _OPERATORS[node.op_type](attributes, name)
    if any(not text for text in node.input):
        raise BackboneError(f"{name}: {node.op_type} leaves an input out; export it again")
    return _Step(tuple(node.input), node.output[0], run)


OperatorAttributes: TypeAlias = dict[str, list[int] | int | float | bytes]


def _integers(attributes: OperatorAttributes, key: str, default: list[int]) -> list[int]:
    value = attributes.get(key, default)
    return [int(item) for item in value] if isinstance(value, list) else default


def _padding(attributes: OperatorAttributes, name: str) -> tuple[int, int]:
    top, left, bottom, right = _integers(attributes, "pads", [0, 0, 0, 0])
    explicit = attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    if not explicit or (top, left) != (bottom, right):
        raise BackboneError(f"{name}: pads unevenly or by itself; export it with even pads")
    return top, left


def _conv(attributes: OperatorAttributes, name: str) -> Callable[[Inputs], Tensor]:
    stride = _integers(attributes, "strides", [1, 1])
    dilation = _integers(attributes, "dilations", [1, 1])
    group = attributes.get("group", 1)
    groups = group if isinstance(group, int) else 1
    padding = _padding(attributes, name)

    def run(inputs: Inputs) -> Tensor:
        bias = inputs[2] if len(inputs) > 2 else None
        return functional.conv2d(
            inputs[0], inputs[1], bias, stride, padding, dilation, groups=groups
        )

    return run


def _maxpool(attributes: OperatorAttributes, name: str) -> Callable[[Inputs], Tensor]:
    kernel = _integers(attributes, "kernel_shape", [1, 1])
    stride = _integers(attributes, "strides", [1, 1])
    dilation = _integers(attributes, "dilations", [1, 1])
    padding = _padding(attributes, name)
    if attributes.get("ceil_mode", 0):
        raise BackboneError(f"{name}: MaxPool rounds up; export it with ceil_mode 0")
    return lambda inputs: functional.max_pool2d(inputs[0], kernel, stride, padding, dilation)


_OPERATORS: dict[str, Callable[[OperatorAttributes, str], Callable[[Inputs], Tensor]]] = {
    "Conv": _conv,
    "Relu": lambda attributes, name: lambda inputs: torch.relu(inputs[0]),
    "Clip": lambda attributes, name: lambda inputs: torch.clamp(*inputs),
    "Add": lambda attributes, name: lambda inputs: inputs[0] + inputs[1],
    "MaxPool": _maxpool,
}
