"""Prototypes added to an inspector that is built: what parts that it has not seen add to good.

The prototypes of a bundle lie in its graph, as the weights of 1x1 convolutions (`graph.py`). A
further block of them needs no look at the images that the others were learnt from: a patch is as
far from good as from its nearest prototype, so new ones bring patches nearer and move no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from calibrate.node_names import HEAD
from calibrate.protoad.prototypes import Vectors, unit_rows
from engines.engine import EXACT

TAUGHT = "taught"
MOST = 512  # prototypes that are added at once
MAX_TAUGHT = 4096  # in all: each costs time with every frame
DISTANCE = f"{HEAD}distance"
NORM = f"{HEAD}norm"
_COUNT = "protoedge.prototypes"


class NotTeachableError(ValueError):
    """A graph to which no prototypes can be added."""


@dataclass(frozen=True, slots=True)
class HeadStage:
    """A stage of features as the head compares it.

    Attributes:
        source: name of the tensor, (N, C, h, w).
        channels: C.
        scale: how often a position is repeated along each axis.
        weight: that the prototypes' convolution multiplies it by.
    """

    source: str
    channels: int
    scale: int
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class TaughtPatches:
    """The patches of one image.

    Attributes:
        vectors: (P, D) unit rows.
        distances: (P,) to their nearest prototypes.
        shape: (h, w) of the map that they make, P = h·w.
    """

    vectors: Vectors
    distances: Vectors
    shape: tuple[int, int]


def head_stages(model: onnx.ModelProto) -> list[HeadStage]:
    """The stages that the prototypes are compared with, in their order.

    Raises:
        NotTeachableError: it is no graph of ProtoAD's.
    """
    weights = {one.name: one for one in model.graph.initializer}
    scales = {node.input[0]: node for node in model.graph.node if node.op_type == "Resize"}
    found = []
    for node in model.graph.node:
        name = node.name.removeprefix(EXACT)
        if node.op_type != "Conv" or not name.endswith("/product_0"):
            continue
        resize = scales.get(node.output[0])
        scale = numpy_helper.to_array(weights[resize.input[2]])[2] if resize else 1
        stage = name.removesuffix("/product_0")
        squared = weights.get(f"{stage}/weight")
        weight = 1.0 if squared is None else float(np.sqrt(numpy_helper.to_array(squared)))
        channels = int(weights[node.input[1]].dims[1])
        found.append(HeadStage(node.input[0], channels, int(scale), weight))
    if not found or not {DISTANCE, NORM} <= {
        out for node in model.graph.node for out in node.output
    }:
        raise NotTeachableError("its graph has no prototypes that others could be added to")
    return found


def read_patches(
    model: onnx.ModelProto, images: Iterable[npt.NDArray[np.uint8]]
) -> Iterator[TaughtPatches]:
    """The patches of images, as the head compares them; by ONNX Runtime.

    Args:
        model: an inspector.
        images: (H, W, 3) uint8 BGR of the model's size.

    Raises:
        NotTeachableError: as `head_stages`.
    """
    import onnxruntime as ort

    stages = head_stages(model)
    wanted = [*(stage.source for stage in stages), DISTANCE, NORM]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    named = {output.name for output in shown.graph.output}
    shown.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in wanted if name not in named
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0].name
    for image in images:
        *sources, distance, norm = session.run(wanted, {given: image[None]})
        parts = [
            (source[0].astype(np.float32) * np.float32(stage.weight))
            .repeat(stage.scale, axis=1)
            .repeat(stage.scale, axis=2)
            for stage, source in zip(stages, sources, strict=True)
        ]
        merged = np.concatenate(parts)
        vectors = merged.reshape(len(merged), -1).T / np.maximum(norm[0].reshape(-1, 1), 1e-6)
        height, width = distance.shape[-2:]
        yield TaughtPatches(
            unit_rows(np.ascontiguousarray(vectors, np.float32)),
            np.asarray(distance[0].ravel(), np.float32),
            (height, width),
        )


def count_taught(model: onnx.ModelProto) -> int:
    """How many prototypes were added to an inspector since it was built."""
    stages = len(head_stages(model))
    blocks = [
        int(one.dims[0])
        for one in model.graph.initializer
        if f"/{TAUGHT}_" in one.name and one.name.endswith("/prototypes")
    ]
    return sum(blocks) // stages


def choose_prototypes(parts: Iterable[TaughtPatches], *, near: float, most: int = MOST) -> Vectors:
    """Prototypes for the patches that are farther from the present ones than is usual.

    Greedy k-centres (Gonzalez 1985) until each such patch is near to one, then the means of the
    centres' cells, as `prototypes.py` makes them.

    Args:
        parts: of the images that are taught.
        near: distance that a patch of a good part usually has.
        most: at most so many.

    Returns:
        (K, D) unit rows; none where no patch is far.
    """
    patches = [part.vectors[part.distances > near] for part in parts]
    far = np.concatenate(patches) if patches else np.empty((0, 0), np.float32)
    if not len(far):
        return far
    distances = np.concatenate([part.distances[part.distances > near] for part in parts])
    nearest = np.full(len(far), -1, np.int64)
    count = 0
    while count < most and distances.max() > near:
        added = 1 - far @ far[int(distances.argmax())]
        closer = added < distances
        nearest[closer] = count
        distances[closer] = added[closer]
        count += 1
    sums = np.zeros((count, far.shape[1]))
    np.add.at(sums, nearest[nearest >= 0], far[nearest >= 0])
    return unit_rows(sums.astype(np.float32))


def distances_with(part: TaughtPatches, prototypes: Vectors) -> Vectors:
    """(P,) distances of a part's patches once prototypes are added."""
    if not len(prototypes):
        return part.distances
    added = 1 - (part.vectors @ prototypes.T).max(axis=1)
    return np.asarray(np.minimum(part.distances, added), np.float32)


def add_prototypes(model: onnx.ModelProto, prototypes: Vectors) -> bytes:
    """A copy of an inspector that has further prototypes, compared in the same precision.

    Args:
        model: the inspector.
        prototypes: (K, D) unit rows.

    Returns:
        Serialised ONNX.

    Raises:
        NotTeachableError: as `head_stages`.
    """
    taught = onnx.ModelProto()
    taught.CopyFrom(model)
    graph, stages = taught.graph, head_stages(model)
    block = _free_name(graph)
    nodes = {out: index for index, node in enumerate(graph.node) for out in node.output}
    first = next(n for n in graph.node if n.name.removeprefix(EXACT).endswith("/product_0"))
    kind = next(one.data_type for one in graph.initializer if one.name == first.input[1])
    prefix = EXACT if first.name.startswith(EXACT) else ""
    ends = np.cumsum([stage.channels for stage in stages])[:-1]
    added: list[onnx.NodeProto] = []
    products = []
    for stage, part in zip(stages, np.split(prototypes, ends, axis=1), strict=True):
        name = f"{HEAD}{stage.source.removeprefix(HEAD)}/{block}"
        kernels = (part * np.float32(stage.weight))[:, :, None, None]
        weight = kernels.astype(helper.tensor_dtype_to_np_dtype(kind))
        graph.initializer.append(numpy_helper.from_array(weight, f"{name}/prototypes"))
        added.append(
            helper.make_node(
                "Conv",
                [stage.source, f"{name}/prototypes"],
                [name],
                name=f"{prefix}{name}",
                kernel_shape=[1, 1],
            )
        )
        products.append(_repeated(graph, added, name, stage.scale))
    total = products[0]
    for index, product in enumerate(products[1:], start=1):
        name = f"{HEAD}{block}_products_{index}"
        added.append(helper.make_node("Add", [total, product], [name], name=name))
        total = name
    peak = _peak(taught, added, total, f"{HEAD}{block}_max")
    _join(graph, added, peak, nodes)
    for entry in taught.metadata_props:
        if entry.key == _COUNT:
            entry.value = str(int(entry.value) + len(prototypes))
    onnx.checker.check_model(taught, full_check=True)
    return bytes(taught.SerializeToString())


def _free_name(graph: onnx.GraphProto) -> str:
    """A name that no block before has: an inspector may be taught again."""
    taken = sum(
        node.op_type == "ReduceMax" and node.name.startswith(f"{HEAD}{TAUGHT}_")
        for node in graph.node
    )
    return f"{TAUGHT}_{taken}"


def _repeated(graph: onnx.GraphProto, added: list[onnx.NodeProto], name: str, scale: int) -> str:
    if scale == 1:
        return name
    factors = np.array([1, 1, scale, scale], np.float32)
    graph.initializer.append(numpy_helper.from_array(factors, f"{name}_up_scales"))
    added.append(
        helper.make_node(
            "Resize",
            [name, "", f"{name}_up_scales"],
            [f"{name}_up"],
            name=f"{name}_up",
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
    )
    return f"{name}_up"


def _peak(model: onnx.ModelProto, added: list[onnx.NodeProto], source: str, name: str) -> str:
    """The largest of the block's products at each position."""
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset < 18:
        node = helper.make_node("ReduceMax", [source], [name], name=name, axes=[1], keepdims=1)
    else:
        axes = numpy_helper.from_array(np.array([1], np.int64), f"{name}_axes")
        model.graph.initializer.append(axes)
        node = helper.make_node(
            "ReduceMax", [source, f"{name}_axes"], [name], name=name, keepdims=1
        )
    added.append(node)
    return name


def _join(
    graph: onnx.GraphProto, added: list[onnx.NodeProto], peak: str, nodes: dict[str, int]
) -> None:
    """Let the largest of all blocks have the new one among them; nodes stay in order."""
    closest = nodes.get(f"{HEAD}closest")
    if closest is not None:
        graph.node[closest].input.append(peak)
        at = closest
    else:  # one block alone: what read its maximum reads the larger of the two
        alone, both = f"{HEAD}max_0", f"{HEAD}closest"
        at = nodes[alone] + 1
        for node in graph.node:
            node.input[:] = [both if name == alone else name for name in node.input]
        added.append(helper.make_node("Max", [alone, peak], [both], name=both))
    rest = [*graph.node]
    del graph.node[:]
    graph.node.extend([*rest[:at], *added, *rest[at:]])
