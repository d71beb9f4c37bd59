"""The first half of an inspector's graph: from a uint8 image to the backbone's pooled stages.

image uint8 (N, H, W, 3) BGR ─ Cast ─ Transpose ─ Gather (RGB) ─ Sub ─ Mul ─ backbone ─ AveragePool
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, shape_inference

from calibrate.backbones.backbone import Backbone, BackboneError
from calibrate.images import Roi, Size, evenly, fitted_batches
from engines.engine import Engine

IMAGE = "image"
NORMALISED = "normalised"  # between the preprocessing and the backbone
PREPROCESSING = "pre/"  # how the names of the preprocessing's nodes begin
POOL = 3  # side of the local average, as in PatchCore (CVPR 2022, section 3.1)
BALANCE_IMAGES = 64
GRID = 8  # px between patches: finer stages are averaged down to it, not the others copied up
Features: TypeAlias = npt.NDArray[np.float32]  # (N, C, h, w)


@dataclass(frozen=True, slots=True)
class Stage:
    """One output of a features graph.

    Attributes:
        name: the backbone's output.
        channels: how many.
        height, width: of the stage at the model's size.
        scale: how often a position repeats on the finest stage: 1, 2, 4 …
        weight: factor of its features in the merged vector.
    """

    name: str
    channels: int
    height: int
    width: int
    scale: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class FeaturesGraph:
    """A graph whose outputs are stages, finest first, pooled or not; at any precision.

    Attributes:
        model: serialised ONNX, input `image` uint8 (1, H, W, 3) BGR.
        size: (height, width) of the input.
        stages: its outputs.
    """

    model: bytes
    size: Size
    stages: tuple[Stage, ...]

    @property
    def dimensions(self) -> int:
        """Length of a merged patch vector."""
        return sum(stage.channels for stage in self.stages)

    @property
    def positions(self) -> int:
        """Patches per image."""
        return self.stages[0].height * self.stages[0].width


def default_layers(backbone: Backbone) -> tuple[str, ...]:
    """The stages at strides 8 and 16, which measured best; all where there are none such."""
    middle = tuple(name for name, stride in backbone.stages.items() if stride in (8, 16))
    return middle or tuple(backbone.stages)


def features_graph(
    backbone: Backbone,
    *,
    size: Size,
    layers: Sequence[str],
    batch: int = 1,
    pooled: bool = True,
) -> FeaturesGraph:
    """Complete a backbone to a graph from uint8 images to its stages, fp32, static shapes.

    Args:
        backbone: the feature extractor.
        size: (height, width); a multiple of the coarsest stride.
        layers: which of its stages; the order does not matter.
        batch: images per run.
        pooled: average each stage locally; otherwise the stages are the backbone's own.

    Raises:
        BackboneError: an unknown layer, or a size that the strides do not divide.
    """
    _check(backbone, size=size, layers=layers)
    chosen = sorted(layers, key=lambda name: backbone.stages[name])
    core = _simplified(_fixed(backbone, size=size, batch=batch), name=backbone.name)
    model = compose.merge_models(
        _preprocessing(backbone, size=size, batch=batch, like=core),
        core,
        io_map=[(NORMALISED, core.graph.input[0].name)],
        outputs=list(chosen),
    )
    if pooled:
        _pool(model, {name: backbone.stages[name] for name in chosen})
    opset = core.opset_import[0].version
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {
        output.name: [dim.dim_value for dim in output.type.tensor_type.shape.dim]
        for output in model.graph.output
    }
    finest = shapes[chosen[0]][2]
    stages = tuple(
        Stage(name, c, h, w, finest // h)
        for name, (_, c, h, w) in ((name, shapes[name]) for name in chosen)
    )
    return FeaturesGraph(model.SerializeToString(), size, stages)


def _check(backbone: Backbone, *, size: Size, layers: Sequence[str]) -> None:
    unknown = [name for name in layers if name not in backbone.stages]
    if unknown or not layers:
        raise BackboneError(
            f"{backbone.name}: no layer {', '.join(unknown) or 'was named'}; "
            f"it has {', '.join(backbone.stages)}"
        )
    coarsest = max(backbone.stages[name] for name in layers)
    if size[0] % coarsest or size[1] % coarsest or min(size) < coarsest:
        raise BackboneError(
            f"size {size[1]}x{size[0]}: must be a multiple of {coarsest}, the stride of "
            f"{backbone.name}'s coarsest layer in use"
        )


def _fixed(backbone: Backbone, *, size: Size, batch: int) -> onnx.ModelProto:
    """The backbone with its input shape written in and no stale shapes elsewhere."""
    model = onnx.load_model_from_string(backbone.model)
    for dim, value in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (batch, 3, *size), strict=True
    ):
        dim.dim_value = value
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    del model.graph.value_info[:]
    return model


def _preprocessing(
    backbone: Backbone, *, size: Size, batch: int, like: onnx.ModelProto
) -> onnx.ModelProto:
    """The graph from uint8 (N, H, W, 3) BGR to what the backbone takes."""
    mean = 255 * np.array(backbone.mean, np.float32).reshape(1, 3, 1, 1)
    scale = 1 / (255 * np.array(backbone.std, np.float32).reshape(1, 3, 1, 1))
    nodes = [
        helper.make_node("Cast", [IMAGE], ["pre/float"], name="pre/cast", to=TensorProto.FLOAT),
        helper.make_node(
            "Transpose", ["pre/float"], ["pre/bgr"], name="pre/planar", perm=[0, 3, 1, 2]
        ),
        helper.make_node("Gather", ["pre/bgr", "pre/order"], ["pre/rgb"], name="pre/rgb", axis=1),
        helper.make_node("Sub", ["pre/rgb", "pre/mean"], ["pre/centred"], name="pre/centre"),
        helper.make_node("Mul", ["pre/centred", "pre/scale"], [NORMALISED], name="pre/scale"),
    ]
    graph = helper.make_graph(
        nodes,
        "preprocessing",
        [helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, [batch, *size, 3])],
        [helper.make_tensor_value_info(NORMALISED, TensorProto.FLOAT, [batch, 3, *size])],
        [
            numpy_helper.from_array(np.array([2, 1, 0], np.int64), "pre/order"),
            numpy_helper.from_array(mean, "pre/mean"),
            numpy_helper.from_array(scale, "pre/scale"),
        ],
    )
    model = helper.make_model(graph, opset_imports=like.opset_import)
    model.ir_version = like.ir_version
    return model


def _pool(model: onnx.ModelProto, strides: Mapping[str, int]) -> None:
    """Average each stage locally; one that is finer than the grid, down to the grid.

    Args:
        model: whose outputs are the stages; changed in place.
        strides: by stage, in px.
    """
    graph = model.graph
    grid = max(GRID, min(strides.values()))
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}/raw" if name in strides else name for name in names]
    for name, stride in strides.items():
        down = max(1, grid // stride)
        side = POOL if down == 1 else down
        graph.node.append(
            helper.make_node(
                "AveragePool",
                [f"{name}/raw"],
                [name],
                name=f"{name}/pool",
                kernel_shape=[side, side],
                pads=[side // 2 if down == 1 else 0] * 4,
                strides=[down, down],
                count_include_pad=0,
            )
        )
    # What is known of shapes is of the stages before pooling: inferred again by the caller.
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def _simplified(model: onnx.ModelProto, *, name: str) -> onnx.ModelProto:
    """Fold constants and infer every shape (onnxsim)."""
    import onnxsim

    del model.metadata_props[:]
    simple, same = onnxsim.simplify(model)
    if not same:
        raise BackboneError(f"{name}: onnxsim changed what the graph computes; export it again")
    return cast(onnx.ModelProto, simple)


def balanced(
    engine: Engine, graph: FeaturesGraph, paths: Sequence[Path], *, roi: Roi | None
) -> FeaturesGraph:
    """Weigh the stages so that each has the same mean length on good images.

    Otherwise the stage with the largest activations decides what a patch is like.

    Args:
        engine: runs `graph`.
        graph: whose stages are weighed, the finest with 1.
        paths: good images; at most 64, evenly spread, are run.
        roi: the part that is inspected.
    """
    some = evenly(paths, BALANCE_IMAGES)
    lengths = np.zeros(len(graph.stages))
    for images in fitted_batches(some, size=graph.size, roi=roi):
        for index, output in enumerate(engine.infer(images)):
            squares = np.square(output, dtype=np.float32).sum(axis=1)
            lengths[index] += float(np.sqrt(squares).mean(axis=(1, 2)).sum())
    # A stage that is silent on every good image has nothing to be weighed by.
    weights = [lengths[0] / length if length > 0 else 1.0 for length in lengths]
    stages = tuple(
        replace(stage, weight=float(np.float32(weight)) if lengths[0] > 0 else 1.0)
        for stage, weight in zip(graph.stages, weights, strict=True)
    )
    return replace(graph, stages=stages)


def unit_patches(outputs: Sequence[Features], stages: Sequence[Stage]) -> Features:
    """Merge stages and normalise: (N, C_i, h_i, w_i), finest first → (N, h·w, ΣC) unit vectors.

    Coarser stages repeat their nearest position and are weighed, as in the graph's head.
    """
    merged = np.concatenate(
        [
            (output * np.float32(stage.weight)).repeat(stage.scale, 2).repeat(stage.scale, 3)
            for output, stage in zip(outputs, stages, strict=True)
        ],
        axis=1,
    )
    flat = merged.reshape(*merged.shape[:2], -1).transpose(0, 2, 1)
    norm = np.sqrt(np.einsum("npc,npc->np", flat, flat))[..., None]
    unit: Features = flat / np.maximum(norm, np.float32(1e-6))
    return unit


@dataclass(frozen=True, slots=True, eq=False)
class PatchBank:
    """Unit patches of every image, image after image.

    Attributes:
        patches: (images · per_image, D) float16.
        rows: (images, per_image) which of each image's patches are in it.
    """

    patches: npt.NDArray[np.float16]
    rows: npt.NDArray[np.int32]

    def of_images(self, images: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """The patches of some images."""
        blocks = self.patches.reshape(*self.rows.shape, -1)
        return blocks[images].reshape(-1, self.patches.shape[1])


def patch_bank(
    engine: Engine,
    graph: FeaturesGraph,
    paths: Sequence[Path],
    *,
    roi: Roi | None,
    rows: npt.NDArray[np.int32],
    progress: Callable[[float], None] | None = None,
) -> PatchBank:
    """Run all images and keep their patches.

    Args:
        engine: runs `graph`.
        graph: the features graph.
        paths: good images.
        roi: the part that is inspected.
        rows: which patches of each image, as `drawn_rows` gives them.
        progress: called with the share done.
    """
    bank = np.empty((rows.size, graph.dimensions), np.float16)
    done = 0
    for patches in patch_runs(engine, graph, paths, roi=roi, rows=rows):
        bank[done : done + len(patches)] = patches
        done += len(patches)
        if progress:
            progress(done / len(bank))
    return PatchBank(bank, rows)


def drawn_rows(
    graph: FeaturesGraph, images: int, *, memory_mib: int, seed: int = 0
) -> npt.NDArray[np.int32]:
    """Which patches of each image a bank can hold: all, or evenly many of each, drawn at random.

    Args:
        graph: the features graph.
        images: how many images there are.
        memory_mib: most memory for the bank, in MiB.
        seed: of the draw.

    Returns:
        (images, per_image), ascending in each row.
    """
    most = memory_mib * 2**20 // (2 * graph.dimensions * images)
    per_image = max(1, min(graph.positions, most))
    if per_image == graph.positions:
        return np.tile(np.arange(graph.positions, dtype=np.int32), (images, 1))
    random = np.random.default_rng(seed)
    drawn = [random.choice(graph.positions, per_image, replace=False) for _ in range(images)]
    return np.sort(np.array(drawn, np.int32), axis=1)


def patch_runs(
    engine: Engine,
    graph: FeaturesGraph,
    paths: Sequence[Path],
    *,
    roi: Roi | None,
    rows: npt.NDArray[np.int32],
) -> Iterator[Features]:
    """Yield the unit patches `rows` of n images at a time, in order: (n · per_image, D)."""
    done = 0
    for images in fitted_batches(paths, size=graph.size, roi=roi):
        outputs = [np.asarray(output, np.float32) for output in engine.infer(images)]
        unit = unit_patches(outputs, graph.stages)
        some = rows[done : done + len(unit), :, None]
        done += len(unit)
        yield np.take_along_axis(unit, some, axis=1).reshape(-1, graph.dimensions)
