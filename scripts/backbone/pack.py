"""The bundled backbone's ONNX file, from the weights of a trained student (`slim.py`)."""

from __future__ import annotations

from pathlib import Path

from calibrate.backbones.architectures import (
    BlockSpec,
    NetworkWriter,
    write_residual_stages,
)
from calibrate.backbones.graph import GraphWriter, StageOutput, write_model
from calibrate.backbones.weights import Weights, read_weights
from process.plain_files import sha256_of


def pack_slim(weights: Path, *, origin: str, output: Path) -> Path:
    """Write the ONNX file of a trained student (`slim.py`) with FP16 storage.

    Args:
        weights: ``.safetensors`` of a `SlimResNet`.
        origin: what it was trained on, and the licences.
        output: the file to write, whole or not at all.

    Raises:
        BackboneError: weights that do not fit, or not writable.
    """
    writer, tensors = GraphWriter(half=True), read_weights(weights)
    stages = write_slim_resnet(writer, tensors)
    tensors.finish(())
    source = f"{origin}; {weights.name} sha256 {sha256_of(weights)}"
    return write_model(writer.model(stages, name="bundled", source=source), output=output)


def write_slim_resnet(graph: GraphWriter, weights: Weights) -> dict[str, StageOutput]:
    """The bundled network; its ranks and outputs are read from the weights' shapes."""
    network = NetworkWriter(graph, weights)
    stem = graph.relu(low_rank(network, "input", "conv1", shape=(64, 3, 7), stride=2))
    wide = write_residual_stages(network, graph.maxpool(stem), block=_slim, depths=(2, 2, 2))
    stages = {}
    for name, stage in wide.items():
        channels = weights.shape(f"heads.{name}.weight")[0]
        weight = weights.take(f"heads.{name}.weight", channels, stage.channels, 1, 1)
        bias = weights.take(f"heads.{name}.bias", channels)
        stages[name] = StageOutput(graph.conv(stage.tensor, weight, bias), channels, stage.stride)
    return stages


def _slim(network: NetworkWriter, block: BlockSpec) -> str:
    name, width, graph = block.name, block.channels, network.graph
    first = (width, block.channels_in, 3)
    inner = low_rank(network, block.source, f"{name}.conv1", shape=first, stride=block.stride)
    inner = low_rank(network, graph.relu(inner), f"{name}.conv2", shape=(width, width, 3))
    shortcut = block.source
    if block.stride != 1:
        down = f"{name}.downsample.0"
        weight = network.weights.take(f"{down}.weight", width, block.channels_in, 1, 1)
        bias = network.weights.take(f"{down}.bias", width)
        shortcut = graph.conv(shortcut, weight, bias, stride=block.stride)
    return graph.relu(graph.add(inner, shortcut))


def low_rank(
    network: NetworkWriter, source: str, name: str, *, shape: tuple[int, int, int], stride: int = 1
) -> str:
    """A KxK convolution to few channels and a 1x1 back; shape: (C_out, C_in, K)."""
    rank = network.weights.shape(f"{name}.spatial.weight")[0]
    kernel = (rank, shape[1], shape[2], shape[2])
    spatial = network.weights.take(f"{name}.spatial.weight", *kernel)
    mix = network.weights.take(f"{name}.mix.weight", shape[0], rank, 1, 1)
    inner = network.graph.conv(source, spatial, None, stride=stride)
    return network.graph.conv(inner, mix, network.weights.take(f"{name}.mix.bias", shape[0]))
