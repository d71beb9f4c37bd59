"""Tiles: the graph cuts a picture, and its stages are those of the tiles without their margins."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.backbones.features_graph import features_graph
from calibrate.backbones.tiles import Tiling, tiling_from_size, tiling_from_tile
from engines.cpu.onnxruntime import OnnxRuntimeEngine

LAYERS = ("layer1", "layer2", "layer3")
COUNTS = st.tuples(st.integers(1, 8), st.integers(1, 8))
SIDES = st.integers(3, 20).map(lambda count: 16 * count)


@given(COUNTS, st.tuples(SIDES, SIDES))
def test_what_is_kept_of_the_tiles_is_the_picture_once(tiles, tile) -> None:
    tiling = tiling_from_tile(tile, tiles=tiles, stride=16)
    for axis in (0, 1):
        cuts, kept = tiling.cuts()[axis], tiling.kept()[axis]
        assert len(cuts) == len(kept) == tiles[1 - axis]
        assert {stop - start for start, stop in cuts} == {tile[axis]}
        spans = [(at + low, at + high) for (at, _), (low, high) in zip(cuts, kept, strict=True)]
        assert spans[0][0] == 0
        assert spans[-1][1] == tiling.size[axis]
        assert all(left[1] == right[0] for left, right in pairwise(spans))
    assert tiling_from_size(tiling.size, tiles=tiles, stride=16) == tiling


@pytest.mark.parametrize(
    ("tile", "says"),
    [((32, 64), "at least 48"), ((64, 100), "tiles of 100x64: must be a multiple of 16 px")],
)
def test_tiles_that_cannot_be_are_refused(tile, says) -> None:
    with pytest.raises(ValueError, match=says):
        tiling_from_tile(tile, tiles=(2, 1), stride=16)
    assert tiling_from_tile(tile, tiles=(1, 1), stride=16).size == tile


def test_a_size_that_no_tiles_make_up_is_refused() -> None:
    with pytest.raises(ValueError, match="257x256: is not 2x1 tiles that overlap by 32 px"):
        tiling_from_size((256, 257), tiles=(2, 1), stride=16)


@pytest.mark.parametrize("batch", [1, 2])
def test_the_stages_are_those_of_the_tiles_alone(batch, small_backbone, pictures) -> None:
    backbone = small_backbone().backbone
    tiling = Tiling((3, 2), (64, 48), 16)
    images = pictures(batch, tiling.size)
    whole = features_graph(backbone, size=(96, 80), layers=LAYERS, tiles=(3, 2), batch=batch)
    single = features_graph(backbone, size=(64, 48), layers=LAYERS, batch=batch)
    assert whole.size == tiling.size == (96, 80)
    with (
        OnnxRuntimeEngine(whole.model, precision="fp32") as joined,
        OnnxRuntimeEngine(single.model, precision="fp32") as alone,
    ):
        found = joined.infer(images)
        for cut, kept in zip(product(*tiling.cuts()), product(*tiling.kept()), strict=True):
            (top, bottom), (left, right) = cut
            parts = alone.infer(np.ascontiguousarray(images[:, top:bottom, left:right]))
            for stage, all_of_it, part in zip(whole.stages, found, parts, strict=True):
                cell = 96 // stage.height
                (low, high), (first, last) = ((start // cell, stop // cell) for start, stop in kept)
                y, x = top // cell + low, left // cell + first
                wanted = part[:, :, low:high, first:last]
                got = all_of_it[:, :, y : y + high - low, x : x + last - first]
                np.testing.assert_allclose(got, wanted, atol=1e-5)
