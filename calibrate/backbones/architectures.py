"""The networks that can be exported, as walks over their weights. No torch.

Each walk takes the tensors under torchvision's names, with the shapes that the network needs, and
writes the graph up to stride 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calibrate.backbones.graph import GraphWriter, StageOutput
from calibrate.backbones.weights import Weights

Walk = Callable[[GraphWriter, Weights], dict[str, StageOutput]]

# (expansion, channels, blocks, stride) of MobileNetV2's groups: Sandler et al., CVPR 2018, table 2
INVERTED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOBILENET_STAGES = {3: "layer1", 6: "layer2", 13: "layer3"}  # the last block of each stride


@dataclass(frozen=True)
class Architecture:
    """A network that can be exported.

    Attributes:
        walk: writes its graph.
        ignored: beginnings of the names of tensors behind stride 16.
        repository: on the Hugging Face hub, with the ImageNet weights.
        licence: of the weights in that repository.
    """

    walk: Walk
    ignored: tuple[str, ...]
    repository: str
    licence: str


@dataclass(frozen=True)
class BlockSpec:
    """One residual block: its name, its input, and what it makes of it."""

    name: str
    source: str
    channels_in: int
    channels: int
    stride: int


class NetworkWriter:
    """A graph that is being written from weights."""

    def __init__(self, graph: GraphWriter, weights: Weights) -> None:
        self.graph = graph
        self.weights = weights

    def conv_norm(
        self,
        source: str,
        names: tuple[str, str],
        *,
        shape: tuple[int, int, int],
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        """A convolution with its batch norm; shape: (C_out, C_in / groups, K)."""
        weight, bias = self.weights.conv_norm(*names, *shape, shape[2])
        return self.graph.conv(source, weight, bias, stride=stride, groups=groups)

    def add_shortcut(self, block: BlockSpec, inner: str) -> str:
        """The end of a residual block: add the shortcut, ReLU."""
        shortcut = block.source
        if block.stride != 1 or block.channels_in != block.channels:
            names = (f"{block.name}.downsample.0", f"{block.name}.downsample.1")
            shape = (block.channels, block.channels_in, 1)
            shortcut = self.conv_norm(shortcut, names, shape=shape, stride=block.stride)
        return self.graph.relu(self.graph.add(inner, shortcut))


def _resnet18(graph: GraphWriter, weights: Weights) -> dict[str, StageOutput]:
    network = NetworkWriter(graph, weights)
    return write_residual_stages(network, _stem(network), block=_basic, depths=(2, 2, 2))


def _wide_resnet50_2(graph: GraphWriter, weights: Weights) -> dict[str, StageOutput]:
    network = NetworkWriter(graph, weights)
    return write_residual_stages(
        network, _stem(network), block=_bottleneck, depths=(3, 4, 6), channels=256
    )


def _stem(network: NetworkWriter) -> str:
    stem = network.conv_norm("input", ("conv1", "bn1"), shape=(64, 3, 7), stride=2)
    return network.graph.maxpool(network.graph.relu(stem))


def write_residual_stages(
    network: NetworkWriter,
    source: str,
    *,
    block: Callable[[NetworkWriter, BlockSpec], str],
    depths: tuple[int, int, int],
    channels: int = 64,
) -> dict[str, StageOutput]:
    """layer1 to layer3 of a ResNet; `channels` of layer1 double with each layer."""
    stages = {}
    channels_in = 64
    for index, depth in enumerate(depths, start=1):
        for position in range(depth):
            stride = 2 if index > 1 and position == 0 else 1
            place = BlockSpec(f"layer{index}.{position}", source, channels_in, channels, stride)
            source = block(network, place)
            channels_in = channels
        stages[f"layer{index}"] = StageOutput(source, channels, 2 ** (index + 1))
        channels *= 2
    return stages


def _basic(network: NetworkWriter, block: BlockSpec) -> str:
    name, width = block.name, block.channels
    first = (width, block.channels_in, 3)
    names = (f"{name}.conv1", f"{name}.bn1")
    inner = network.conv_norm(block.source, names, shape=first, stride=block.stride)
    names = (f"{name}.conv2", f"{name}.bn2")
    inner = network.conv_norm(network.graph.relu(inner), names, shape=(width, width, 3))
    return network.add_shortcut(block, inner)


def _bottleneck(network: NetworkWriter, block: BlockSpec) -> str:
    name, width = block.name, block.channels // 2
    shape = (width, block.channels_in, 1)
    inner = network.conv_norm(block.source, (f"{name}.conv1", f"{name}.bn1"), shape=shape)
    inner = network.conv_norm(
        network.graph.relu(inner),
        (f"{name}.conv2", f"{name}.bn2"),
        shape=(width, width, 3),
        stride=block.stride,
    )
    inner = network.graph.relu(inner)
    shape = (block.channels, width, 1)
    inner = network.conv_norm(inner, (f"{name}.conv3", f"{name}.bn3"), shape=shape)
    return network.add_shortcut(block, inner)


def _mobilenet_v2(graph: GraphWriter, weights: Weights) -> dict[str, StageOutput]:
    network = NetworkWriter(graph, weights)
    names = ("features.0.0", "features.0.1")
    source = graph.relu6(network.conv_norm("input", names, shape=(32, 3, 3), stride=2))
    stages = {}
    channels_in, index, stride = 32, 0, 2
    for expansion, channels, blocks, first_stride in INVERTED:
        stride *= first_stride
        if stride > 16:
            break
        for position in range(blocks):
            index += 1
            step = first_stride if position == 0 else 1
            place = BlockSpec(f"features.{index}.conv", source, channels_in, channels, step)
            source = _inverted(network, place, expansion=expansion)
            channels_in = channels
            if index in MOBILENET_STAGES:
                stages[MOBILENET_STAGES[index]] = StageOutput(source, channels, stride)
    return stages


def _inverted(network: NetworkWriter, block: BlockSpec, *, expansion: int) -> str:
    """An inverted residual block: widen, 3x3 per channel, narrow without activation."""
    name, graph = block.name, network.graph
    width = block.channels_in * expansion
    inner, part = block.source, 0
    if expansion > 1:
        names = (f"{name}.0.0", f"{name}.0.1")
        inner = graph.relu6(network.conv_norm(inner, names, shape=(width, block.channels_in, 1)))
        part = 1
    names = (f"{name}.{part}.0", f"{name}.{part}.1")
    inner = network.conv_norm(inner, names, shape=(width, 1, 3), stride=block.stride, groups=width)
    names = (f"{name}.{part + 1}", f"{name}.{part + 2}")
    inner = network.conv_norm(graph.relu6(inner), names, shape=(block.channels, width, 1))
    if block.stride == 1 and block.channels_in == block.channels:
        return graph.add(block.source, inner)
    return inner


ARCHITECTURES = {
    "resnet18": Architecture(
        _resnet18, ("layer4.", "fc."), "timm/resnet18.tv_in1k", "BSD-3-Clause"
    ),
    "wide_resnet50_2": Architecture(
        _wide_resnet50_2, ("layer4.", "fc."), "timm/wide_resnet50_2.tv_in1k", "BSD-3-Clause"
    ),
    "mobilenet_v2": Architecture(
        _mobilenet_v2,
        (*(f"features.{index}." for index in range(14, 19)), "classifier."),
        "timm/mobilenetv2_100.ra_in1k",
        "Apache-2.0",
    ),
}
