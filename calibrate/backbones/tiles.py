"""A picture as overlapping tiles: cut inside the graph, and its features put together again.

    image (N, 3, H, W) ─ Slice each ─ Concat (N·tiles, 3, h, w) ─ backbone, pooling ─
    Slice each, without its margins ─ Concat to rows ─ Concat (N, C, H / stride, W / stride)

What follows sees one picture. The margins are dropped because zeros beyond a tile's edge, and not
its neighbour, went into their features.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from calibrate.images import Size

Tiles: TypeAlias = tuple[int, int]  # (columns, rows)
Span: TypeAlias = tuple[int, int]  # first, and first beyond

WHOLE: Tiles = (1, 1)
MARGIN = 1  # positions of the coarsest stage that are dropped at an edge between two tiles


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a picture is cut.

    Attributes:
        tiles: columns and rows.
        tile: (height, width) of each, in px.
        margin: px that are dropped where two tiles meet; they overlap by twice as much.
    """

    tiles: Tiles
    tile: Size
    margin: int

    @property
    def count(self) -> int:
        """Tiles of a picture."""
        return self.tiles[0] * self.tiles[1]

    @property
    def size(self) -> Size:
        """(height, width) of the picture."""
        (*_, (_, height)), (*_, (_, width)) = self.cuts()
        return height, width

    def cuts(self) -> tuple[list[Span], list[Span]]:
        """Where the rows of tiles lie in the picture, and its columns; neighbours overlap."""
        vertical, horizontal = (
            [(i * (side - 2 * self.margin), i * (side - 2 * self.margin) + side) for i in range(n)]
            for n, side in zip(self.tiles[::-1], self.tile, strict=True)
        )
        return vertical, horizontal

    def kept(self) -> tuple[list[Span], list[Span]]:
        """What counts of the tiles of each row, and of each column: no margin between two."""
        vertical, horizontal = (
            [(min(i, 1) * self.margin, side - min(n - 1 - i, 1) * self.margin) for i in range(n)]
            for n, side in zip(self.tiles[::-1], self.tile, strict=True)
        )
        return vertical, horizontal


def tiling_from_tile(tile: Size, *, tiles: Tiles, stride: int) -> Tiling:
    """The tiling by tiles of a size.

    Args:
        tile: (height, width); multiples of the stride and at least three of it.
        tiles: columns and rows.
        stride: of the coarsest stage, in px.

    Raises:
        ValueError: another size.
    """
    if tiles != WHOLE and any(side % stride or side < 3 * MARGIN * stride for side in tile):
        raise ValueError(
            f"tiles of {tile[1]}x{tile[0]}: must be a multiple of {stride} px, the stride of the "
            f"coarsest layer in use, and at least {3 * MARGIN * stride}; give another --size"
        )
    return Tiling(tiles, tile, MARGIN * stride)


def tiling_from_size(size: Size, *, tiles: Tiles, stride: int) -> Tiling:
    """The tiling of a picture.

    Raises:
        ValueError: a size that no tiles of the stride make up.
    """
    margin = MARGIN * stride
    sums = [side + 2 * margin * (count - 1) for side, count in zip(size, tiles[::-1], strict=True)]
    height, width = (total // count for total, count in zip(sums, tiles[::-1], strict=True))
    found = tiling_from_tile((height, width), tiles=tiles, stride=stride)
    if found.size != size:
        raise ValueError(
            f"size {size[1]}x{size[0]}: is not {tiles[0]}x{tiles[1]} tiles that overlap by "
            f"{2 * margin} px; give a size that is"
        )
    return found


def cut_into_tiles(graph: GraphProto, tiling: Tiling, *, batch: int) -> None:
    """Let a graph's only output, a picture (N, C, H, W), be its tiles; nodes are named ``pre/…``.

    Args:
        graph: of preprocessing; changed in place.
        tiling: of the picture.
        batch: N.
    """
    (output,) = graph.output
    whole = f"pre/whole_{output.name}"
    for node in graph.node:
        node.output[:] = [whole if name == output.name else name for name in node.output]
    parts = [
        _slice(graph, whole, f"pre/tile_{index}", {2: rows, 3: columns})
        for index, (rows, columns) in enumerate(product(*tiling.cuts()))
    ]
    graph.node.append(helper.make_node("Concat", parts, [output.name], name="pre/tiles", axis=0))
    channels = output.type.tensor_type.shape.dim[1].dim_value
    shape = [batch * tiling.count, channels, *tiling.tile]
    tiles = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape)
    output.CopyFrom(tiles)


def join_tiles(graph: GraphProto, name: str, tiling: Tiling, *, batch: int, cell: int) -> None:
    """Let a stage, which is of tiles, be of the whole picture.

    Args:
        graph: changed in place; shapes must be inferred again.
        name: of the stage, an output.
        tiling: of the picture.
        batch: pictures.
        cell: px between two of the stage's positions.
    """
    tiles = f"{name}/tiles"
    for node in graph.node:
        node.output[:] = [tiles if output == name else output for output in node.output]
    parts = []
    for index, (rows, columns) in enumerate(product(*tiling.kept())):
        first = index * batch
        spans = {0: (first, first + batch), 2: _cells(rows, cell), 3: _cells(columns, cell)}
        parts.append(_slice(graph, tiles, f"{name}/tile_{index}", spans))
    across, down = tiling.tiles
    strips = [f"{name}/row_{row}" for row in range(down)]
    for row, strip in enumerate(strips):
        some = parts[row * across : (row + 1) * across]
        graph.node.append(helper.make_node("Concat", some, [strip], name=strip, axis=3))
    graph.node.append(helper.make_node("Concat", strips, [name], name=f"{name}/joined", axis=2))


def _cells(span: Span, cell: int) -> Span:
    return span[0] // cell, span[1] // cell


def _slice(graph: GraphProto, source: str, name: str, spans: dict[int, Span]) -> str:
    """Append the part of a tensor that lies in a span of each of some axes."""
    given = {
        "starts": [start for start, _ in spans.values()],
        "ends": [stop for _, stop in spans.values()],
        "axes": list(spans),
    }
    inputs = [source]
    for part, values in given.items():
        inputs.append(f"{name}/{part}")
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), inputs[-1]))
    graph.node.append(helper.make_node("Slice", inputs, [name], name=name))
    return name
