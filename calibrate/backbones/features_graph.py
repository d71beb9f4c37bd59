"""The first half of an inspector's graph: from a uint8 image to the backbone's stages.

image uint8 (N, H, W, 3) BGR ─ Cast ─ Transpose ─ Gather (RGB) ─ Sub ─ Mul ─ backbone ─ AveragePool

With tiles, the backbone and the pooling run on a batch of them (`calibrate.backbones.tiles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper, shape_inference

from calibrate.backbones.backbone import Backbone, BackboneError
from calibrate.backbones.tiles import (
    WHOLE,
    Tiles,
    Tiling,
    cut_into_tiles,
    join_tiles,
    tiling_from_size,
)
from calibrate.images import Size
from engines.batches import INPUT
from process.hidden_modules import hidden_module

NORMALISED = "normalised"  # between the preprocessing and the backbone
POOL = 3  # side of the local average, as in PatchCore (CVPR 2022, section 3.1)
GRID = 8  # px between patches: finer stages are averaged down to it, not the others copied up


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
    tiles: Tiles = WHOLE,
) -> FeaturesGraph:
    """Complete a backbone to a graph from uint8 images to its stages, fp32, static shapes.

    Args:
        backbone: the feature extractor.
        size: (height, width); a multiple of the coarsest stride.
        layers: which of its stages; the order does not matter.
        batch: images per run.
        pooled: average each stage locally; otherwise the stages are the backbone's own.
        tiles: columns and rows that each image is cut into, for the backbone alone.

    Raises:
        BackboneError: an unknown layer, or a size that the strides do not divide.
        ValueError: a size that is not made up of such tiles.
    """
    _check(backbone, size=size, layers=layers)
    chosen = sorted(layers, key=lambda name: backbone.stages[name])
    tiling = tiling_from_size(size, tiles=tiles, stride=grid_of(backbone, chosen))
    model = _tiles_to_stages(backbone, tiling, chosen, batch=batch)
    cells = {name: backbone.stages[name] for name in chosen}
    if pooled:
        cells = _pool(model, cells)
    if tiling.count > 1:
        for name, cell in cells.items():
            join_tiles(model.graph, name, tiling, batch=batch, cell=cell)
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


def grid_of(backbone: Backbone, layers: Iterable[str]) -> int:
    """Px that a size is a multiple of where no pooled stage loses a row; unknown layers count 0."""
    return max(GRID, *(backbone.stages.get(name, 0) for name in layers))


def _tiles_to_stages(
    backbone: Backbone, tiling: Tiling, layers: Sequence[str], *, batch: int
) -> onnx.ModelProto:
    """From uint8 pictures to stages of their tiles; shapes must be inferred again."""
    several = batch * tiling.count
    core = _simplify(_fix_shapes(backbone, size=tiling.tile, batch=several), name=backbone.name)
    before = _preprocessing(backbone, size=tiling.size, batch=batch, like=core)
    if tiling.count > 1:
        cut_into_tiles(before.graph, tiling, batch=batch)
    model = compose.merge_models(
        before,
        core,
        io_map=[(NORMALISED, core.graph.input[0].name)],
        outputs=list(layers),
    )
    opset = core.opset_import[0].version
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    # What is known of shapes is of the stages as they are now.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


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


def _fix_shapes(backbone: Backbone, *, size: Size, batch: int) -> onnx.ModelProto:
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
        helper.make_node("Cast", [INPUT], ["pre/float"], name="pre/cast", to=TensorProto.FLOAT),
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
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [batch, *size, 3])],
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


def _pool(model: onnx.ModelProto, strides: Mapping[str, int]) -> dict[str, int]:
    """Average each stage locally; one that is finer than the grid, down to the grid.

    Args:
        model: whose outputs are the stages; changed in place.
        strides: by stage, in px.

    Returns:
        The strides after that.
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
    return {name: max(grid, stride) for name, stride in strides.items()}


def _simplify(model: onnx.ModelProto, *, name: str) -> onnx.ModelProto:
    """Fold constants and infer every shape (onnxsim)."""
    with hidden_module("torch"):  # onnxsim loads it, for what is not used here: 4 s and 400 MB
        import onnxsim

    del model.metadata_props[:]
    simple, same = onnxsim.simplify(model)
    if not same:
        raise BackboneError(f"{name}: onnxsim changed what the graph computes; export it again")
    return cast(onnx.ModelProto, simple)
