"""The model's size: as asked, or of the pictures' shape at about as many pixels as the square."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrate.backbones.backbone import load_backbone
from edge.building.build import build
from edge.building.model_size import AREA, MAX_AREA, decide_size, size_for_aspect, usual_aspect
from edge.inspection.inspector import load
from edge.options import BuildOptions


@given(st.floats(1 / 64, 64), st.sampled_from([4, 8, 16, 32]))
def test_any_shape_is_kept_about_at_the_same_work(aspect, stride) -> None:
    height, width = size_for_aspect(aspect, stride=stride)
    assert height % stride == width % stride == 0
    assert min(height, width) >= 64
    assert 0.75 * AREA <= height * width <= MAX_AREA
    bounded = min(max(aspect, 1 / 16), 16)
    assert abs(math.log(width / height / bounded)) <= stride / min(height, width)


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((512, 512), (256, 256)),
        ((257, 256), (256, 256)),
        ((1024, 408), (400, 160)),
        ((208, 512), (160, 400)),
        ((1080, 1920), (192, 336)),
        ((10, 4000), (64, 1024)),
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
        ({"layers": ("layer1",)}, (148, 444), "444 x 148"),
        ({"model": "prn"}, (160, 416), "416 x 160"),
        ({"roi": (0, 0, 32, 32)}, (256, 256), ""),
        ({"roi": (0, 0, 32, 16)}, (176, 368), "pictures of 32 x 16"),
        ({"size": "96x64"}, (64, 96), ""),
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


def test_a_build_of_oblong_pictures_inspects_them_in_their_shape(good, tmp_path) -> None:
    for index, path in enumerate(sorted(good.iterdir())):
        if index > 4:
            path.unlink()
            continue
        cv2.imwrite(str(path), cv2.imread(str(path))[:64])
    told: list[str] = []
    options = BuildOptions(precision="fp32", engine="onnxruntime", prototypes=16)
    made = build(good, tmp_path / "oblong.edge", options=options, say=told.append)
    assert "model size 368 x 176 px" in told[0]
    assert made.bundle.manifest.size == (176, 368)
    with load(made.bundle.path, engine="onnxruntime") as inspector:
        result = inspector.inspect(cv2.imread(str(min(good.iterdir()))))
    assert result.anomaly_map is not None
    assert result.anomaly_map.shape == (176, 368)
