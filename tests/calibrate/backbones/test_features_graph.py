"""The first half of an inspector's graph: which stages come out, and at which size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibrate.backbones.backbone import BackboneError, load_backbone
from calibrate.backbones.features_graph import default_layers, features_graph
from engines.cpu.onnxruntime import OnnxRuntimeEngine

SIZE = (64, 96)
LAYERS = ("layer2", "layer3")


@pytest.mark.parametrize(
    ("layers", "scales", "heights"),
    [
        (("layer3",), (1,), (4,)),
        (("layer3", "layer2"), (1, 2), (8, 4)),
        (("layer1", "layer2", "layer3"), (1, 1, 2), (8, 8, 4)),
        (("layer1",), (1,), (8,)),
    ],
)
def test_stages_are_finest_first_and_no_finer_than_the_grid(
    layers, scales, heights, small_backbone
) -> None:
    given = features_graph(small_backbone().backbone, size=SIZE, layers=layers)
    assert [stage.name for stage in given.stages] == sorted(layers)
    assert tuple(stage.scale for stage in given.stages) == scales
    assert tuple(stage.height for stage in given.stages) == heights
    assert given.positions == heights[0] * heights[0] * 3 // 2
    assert given.dimensions == sum({"layer1": 24, "layer2": 32, "layer3": 40}[n] for n in layers)
    with OnnxRuntimeEngine(given.model, precision="fp32") as opened:
        outputs = opened.infer(np.zeros((1, *SIZE, 3), np.uint8))
    for stage, output in zip(given.stages, outputs, strict=True):
        assert output.shape == (1, stage.channels, stage.height, stage.width)


def test_layers_and_sizes_that_cannot_be_are_refused(small_backbone) -> None:
    backbone = small_backbone().backbone
    with pytest.raises(BackboneError, match="no layer layer4; it has layer1, layer2, layer3"):
        features_graph(backbone, size=SIZE, layers=("layer2", "layer4"))
    with pytest.raises(BackboneError, match="no layer was named"):
        features_graph(backbone, size=SIZE, layers=())
    for size in ((64, 100), (40, 64), (0, 64), (8, 8)):
        with pytest.raises(BackboneError, match=f"size {size[1]}x{size[0]}: must be a multiple"):
            features_graph(backbone, size=size, layers=LAYERS)


def test_the_middle_stages_are_the_default(small_backbone) -> None:
    assert default_layers(small_backbone().backbone) == LAYERS
    assert default_layers(load_backbone("bundled")) == LAYERS
    fine = replace(small_backbone().backbone, stages={"layer1": 4})
    assert default_layers(fine) == ("layer1",)


def test_a_batch_gives_what_single_images_give(small_backbone, pictures) -> None:
    images, backbone = pictures(4, SIZE), small_backbone().backbone
    given = []
    for batch in (1, 4):
        graph = features_graph(backbone, size=SIZE, layers=LAYERS, batch=batch)
        with OnnxRuntimeEngine(graph.model, precision="fp32") as opened:
            given.append(opened.infer(images))
    for single, whole in zip(*given, strict=True):
        np.testing.assert_allclose(whole, single, rtol=0, atol=1e-5)
