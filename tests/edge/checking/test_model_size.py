"""The model's size: as asked, or of the pictures' shape at about as many pixels as the square."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_builds import leave_out

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.tiles import tiling_from_tile
from calibrate.protoad import folds
from edge.building.build import build
from edge.checking.model_size import (
    AREA,
    MAX_AREA,
    advise_tiles,
    decide_size,
    size_for_aspect,
    usual_aspect,
)
from edge.fields import ParseError
from edge.inspection.inspector import load
from edge.options import BuildOptions


@given(st.floats(1 / 16, 16), st.sampled_from([4, 8, 16, 32]))
def test_any_shape_is_kept_about_at_the_same_work(aspect, stride) -> None:
    height, width = size_for_aspect(aspect, stride=stride)
    assert height % stride == width % stride == 0
    assert min(height, width) >= 64
    assert 0.75 * AREA <= height * width <= MAX_AREA
    assert abs(math.log(width / height / aspect)) <= stride / min(height, width)


@given(st.floats(1 / 4, 4), st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_tiles_keep_the_shape_of_the_picture(aspect, tiles) -> None:
    tile = size_for_aspect(aspect, stride=16, tiles=tiles)
    if min(tile) > 64:
        height, width = tiling_from_tile(tile, tiles=tiles, stride=16).size
        assert abs(math.log(width / height / aspect)) <= 0.2
        assert 0.85 * AREA <= tile[0] * tile[1] <= MAX_AREA


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((512, 512), (256, 256)),
        ((257, 256), (256, 256)),
        ((1024, 408), (400, 160)),
        ((208, 512), (160, 400)),
        ((1080, 1920), (192, 336)),
        ((10, 4000), (64, 1072)),
    ],
)
def test_sizes_of_usual_pictures(picture, size) -> None:
    assert size_for_aspect(picture[1] / picture[0], stride=16) == size


def test_one_odd_picture_does_not_count_and_many_shapes_have_none_in_common() -> None:
    assert usual_aspect([(100, 200)] * 12 + [(200, 100)]) == 2
    assert usual_aspect([(100, 200)] * 8 + [(200, 100)] * 2) is None
    assert usual_aspect([]) is None


def write(folder: Path, shapes: list[tuple[int, int]]) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(len(shapes))]
    for path, shape in zip(paths, shapes, strict=True):
        cv2.imwrite(str(path), np.zeros((*shape, 3), np.uint8))
    return paths


@pytest.mark.parametrize(
    ("options", "size", "says"),
    [
        ({}, (144, 448), "pictures of 96 x 32: model size 448 x 144 px keeps their shape"),
        ({"layers": ("layer1",)}, (144, 440), "440 x 144"),
        ({"model": "prn"}, (160, 416), "416 x 160"),
        ({"roi": (0, 0, 32, 32)}, (256, 256), ""),
        ({"roi": (0, 0, 32, 16)}, (176, 368), "pictures of 32 x 16"),
        ({"size": "96x64"}, (64, 96), ""),
        ({"size": "96x64", "tiles": "2x3"}, (128, 160), ""),
        ({"tiles": "3x1"}, (240, 752), "752 x 240 px in 3x1 tiles of 272 x 240 px"),
    ],
)
def test_the_size_is_decided_once_and_said(options, size, says, tmp_path) -> None:
    images = write(tmp_path, [(32, 96)] * 6)
    (tmp_path / "torn.png").write_bytes(b"")
    told: list[str] = []
    given = BuildOptions(**options)
    decided = decide_size(
        given,
        backbone=load_backbone("bundled"),
        images=[*images, tmp_path / "torn.png"],
        say=told.append,
    )
    assert decided.size == size
    assert decided.model_copy(update={"size": given.size}).model_dump() == given.model_dump()
    assert len(told) == bool(says)
    assert says in "".join(told)


@pytest.mark.parametrize(
    ("picture", "model", "changes", "says"),
    [
        ((512, 512), (256, 256), {}, ""),
        ((512, 512), (256, 256), {"missed": True}, "--tiles 2x2"),
        ((1080, 1920), (192, 336), {}, "6 x 6 px of a picture become one: small .*--tiles 2x2 or"),
        ((2048, 2448), (480, 480), {"tiles": (2, 2)}, "--tiles 4x4"),
        ((1024, 4096), (256, 256), {}, "--tiles 2x2"),
        ((40_000, 40_000), (256, 256), {}, "--tiles 8x8"),
    ],
)
def test_tiles_are_advised_where_the_model_sees_too_little(picture, model, changes, says) -> None:
    advice = advise_tiles(picture, model, **changes)
    assert bool(advice) == bool(says)
    assert re.search(says, advice)


def test_tiles_of_more_than_the_largest_size_are_refused() -> None:
    with pytest.raises(ParseError, match="8x8 tiles of 1024 x 1024 px: more than 4096 px in all"):
        decide_size(
            BuildOptions(size="1024", tiles="8x8"),
            backbone=load_backbone("bundled"),
            images=[],
            say=print,
        )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--tiles", "0x2"), "tiles '0x2': give COLUMNSxROWS from 1x1 to 8x8"),
        (("--tiles", "100x100"), "tiles '100x100'"),
        (("--tiles", "2"), "tiles '2'"),
        (("--tiles", "2x2", "--size", "32"), "at least 48"),
        (("--tiles", "2x2", "--size", "8192"), "4096"),
        (("--tiles", "2x2", "--model", "prn"), "--tiles is ProtoAD's"),
    ],
)
def test_bad_tiles_are_one_line(run, good, words, says) -> None:
    outcome = run("build", good, "--engine", "onnxruntime", *words)
    assert outcome.code == 2
    assert says in outcome.line()


def test_pictures_of_many_shapes_keep_the_square(tmp_path) -> None:
    told: list[str] = []
    decided = decide_size(
        BuildOptions(),
        backbone=load_backbone("bundled"),
        images=write(tmp_path, [(32, 64), (64, 32), (64, 64)]),
        say=told.append,
    )
    assert decided.size == (256, 256)
    assert "different shapes" in told[0]


@pytest.mark.usefixtures("light_builds")
def test_a_build_of_oblong_pictures_inspects_them_in_their_shape(
    good, tmp_path, monkeypatch
) -> None:
    leave_out(monkeypatch)
    for index, path in enumerate(sorted(good.iterdir())):
        if index > 4:
            path.unlink()
            continue
        cv2.imwrite(str(path), cv2.imread(str(path))[:64])
    told: list[str] = []
    options = BuildOptions(precision="fp32", engine="onnxruntime", prototypes=16)
    made = build(good, tmp_path / "oblong.edge", options=options, say=told.append)
    assert any("model size 368 x 176 px" in line for line in told)
    assert made.bundle.manifest.size == (176, 368)
    with load(made.bundle.path, engine="onnxruntime") as inspector:
        result = inspector.inspect(cv2.imread(str(min(good.iterdir()))))
    assert result.anomaly_map is not None
    assert result.anomaly_map.shape == (176, 368)


def test_an_inspector_of_tiles_is_one_graph_that_engines_run_and_agree_on(
    run, good, monkeypatch
) -> None:
    """In int8 on the engine that CPUs deploy, through the gate, with plans where they compile."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(folds, "FOLDS", 2)
    for path in sorted(good.iterdir())[6:]:
        path.unlink()
    words = ("--tiles", "2x2", "--size", "64", "--prototypes", "16", "--engine", "openvino")
    words += ("--precision", "int8", "--max-score-error", "9", "--max-flips", "9")
    done = run("build", good, *words, "--json", "--output", "tiles.edge")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["parity"]["engines"]
    facts = json.loads(run("info", "tiles.edge", "--json").out)
    assert (facts["size"], facts["tiles"]) == ([96, 96], [2, 2])
    assert "tiles" in run("info", "tiles.edge").out
    assert "96 x 96 px in 2 x 2 tiles" in Path("tiles.edge/report.html").read_text()
    with load(Path("tiles.edge"), engine="openvino") as inspector:
        picture = cv2.imread(str(min(good.iterdir())))
        spoilt = picture.copy()
        spoilt[56:72, 56:72] = (0, 0, 255)  # where the four tiles meet
        sound, bad = inspector.inspect(picture), inspector.inspect(spoilt)
    assert bad.score > sound.score
    assert bad.anomaly_map is not None
    y, x = np.unravel_index(bad.anomaly_map.argmax(), bad.anomaly_map.shape)
    assert 36 <= y <= 60
    assert 36 <= x <= 60
