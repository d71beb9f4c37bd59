"""ProtoAD's graph against the same network, stated again in torch and in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from scipy.ndimage import gaussian_filter

from calibrate.backbones.architectures import ARCHITECTURES
from calibrate.backbones.backbone import Backbone
from calibrate.backbones.features_graph import FeaturesGraph, features_graph
from calibrate.backbones.graph import GraphWriter
from calibrate.backbones.weights import Weights
from calibrate.protoad.features import unit_patches
from calibrate.protoad.graph import inspector_graph, smoothing_matrix
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.score_rule import ScoreRule, ScoreTerm

torch = pytest.importorskip("torch", reason="torch restates the network")
functional = torch.nn.functional

CLOSE = 1e-5  # float32 sums in another order; the map lies in 0..1
WEIGHTS = (1.0, 0.7, 1.9)  # of the stages, unequal so that a forgotten one shows


def gaussian(plane: torch.Tensor, *, sigma: float = 4.0) -> torch.Tensor:
    """Gaussian of 4 sigma, border d c b a | a b c d, along both axes of (N, 1, H, W)."""
    radius = int(4 * sigma + 0.5)
    at = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, -1, 1)
    for _ in range(2):
        length = plane.shape[2]
        index = torch.arange(-radius, length + radius) % (2 * length)
        index = torch.where(index < length, index, 2 * length - 1 - index)
        plane = functional.conv2d(plane[:, :, index], kernel).transpose(2, 3)
    return plane


def restated(stages, strides, weights, prototypes, size) -> tuple[np.ndarray, np.ndarray]:
    """Map before smoothing at the finest stage, and the anomaly map, from a backbone's stages."""
    grid = max(8, min(strides))
    pooled = []
    for stage, stride, weight in zip(stages, strides, weights, strict=True):
        if stride < grid:
            side = grid // stride
            local = functional.avg_pool2d(stage, side, side)
        else:
            local = functional.avg_pool2d(stage, 3, 1, 1, count_include_pad=False)
        pooled.append(weight * local)
    finest = pooled[0].shape[2:]
    merged = torch.cat([functional.interpolate(p, finest, mode="nearest") for p in pooled], 1)
    unit = functional.normalize(merged.double(), dim=1, eps=1e-6)
    kernels = torch.from_numpy(prototypes).double()[:, :, None, None]
    distance = 1 - functional.conv2d(unit, kernels).amax(1, keepdim=True)
    up = functional.interpolate(distance, size, mode="bilinear", align_corners=False)
    return distance[:, 0].numpy(), gaussian(up)[:, 0].numpy()


def normalised(images: np.ndarray, backbone: Backbone) -> torch.Tensor:
    rgb = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(backbone.mean), torch.tensor(backbone.std)
    return (rgb - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def small_stages(small, images: np.ndarray) -> dict[str, torch.Tensor]:
    value, found = normalised(images, small.backbone), []
    for layer in small.weights:
        weight, bias = (torch.from_numpy(part) for part in layer)
        value = torch.relu(functional.conv2d(value, weight, bias, stride=2, padding=1))
        found.append(value)
    return dict(zip(("layer1", "layer2", "layer3"), found[1:], strict=True))


def weighed(graph: FeaturesGraph) -> FeaturesGraph:
    stages = [replace(s, weight=w) for s, w in zip(graph.stages, WEIGHTS, strict=False)]
    return replace(graph, stages=tuple(stages))


def run(model: bytes, images: np.ndarray) -> tuple[np.ndarray, ...]:
    with OnnxRuntimeEngine(model, precision="fp32") as engine:
        return engine.infer(images)


@pytest.mark.parametrize(
    ("layers", "size", "opset"),
    [
        (("layer1", "layer2", "layer3"), (64, 96), 17),
        (("layer2", "layer3"), (96, 64), 17),
        (("layer3", "layer2"), (64, 64), 18),
        (("layer3",), (64, 128), 19),
        (("layer1",), (64, 64), 17),
        (("layer1", "layer3"), (64, 64), 17),
    ],
)
def test_the_graph_is_the_network(
    layers, size, opset, small_backbone, pictures, directions
) -> None:
    given = small_backbone(opset=opset)
    graph = weighed(features_graph(given.backbone, size=size, layers=layers))
    images = pictures(3, size)
    prototypes = directions(50, graph.dimensions)
    stages = small_stages(given, images)
    chosen = sorted(layers)
    distance, expected = restated(
        [stages[name] for name in chosen],
        [given.backbone.stages[name] for name in chosen],
        WEIGHTS[: len(chosen)],
        prototypes,
        size,
    )
    assert distance.std() > 0.003, "images on which nothing differs prove nothing"
    highest = np.sort(expected[:, 2::4, 2::4].reshape(3, -1), axis=1)
    terms = (ScoreTerm(), ScoreTerm(count=10, gain=3.0, offset=-0.1), ScoreTerm(count=30, gain=2.0))
    means = [term.gain * highest[:, -term.count :].mean(1) + term.offset for term in terms]
    scores_of = {
        "top": np.max(means, axis=0),
        "smoothed": expected.max((1, 2)),
        "raw": distance.max((1, 2)),
    }
    rule = ScoreRule(terms=terms, stride=4)
    for score, wanted in scores_of.items():
        model = inspector_graph(graph, prototypes, precision="fp32", score=score, rule=rule)
        assert onnx.load_model_from_string(model).opset_import[0].version == opset
        maps, scores = run(model, images)
        assert (maps.shape, maps.dtype, scores.dtype) == ((3, *size), np.float32, np.float32)
        np.testing.assert_allclose(maps, expected, rtol=0, atol=CLOSE)
        np.testing.assert_allclose(scores, wanted, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("block", [1, 7, 25, 49])
def test_blocks_of_prototypes_give_the_answer_of_all_at_once(
    block, small_backbone, pictures, directions, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = small_backbone()
    graph = weighed(features_graph(given.backbone, size=(64, 64), layers=("layer2", "layer3")))
    prototypes, images = directions(50, graph.dimensions), pictures(2, (64, 64))
    expected, _ = run(inspector_graph(graph, prototypes, precision="fp32"), images)
    monkeypatch.setattr("calibrate.protoad.graph.block_of", lambda _: block)
    found, _ = run(inspector_graph(graph, prototypes, precision="fp32"), images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_resnet18_is_the_network(pictures, directions) -> None:
    from backbone.resnet import STAGES, resnet18

    torch.manual_seed(0)
    network = resnet18().eval()
    tensors = {name: value.numpy() for name, value in network.state_dict().items()}
    writer = GraphWriter()
    written = ARCHITECTURES["resnet18"].walk(writer, Weights(tensors, source="random"))
    backbone = Backbone(
        name="resnet18",
        model=writer.model(written, name="resnet18", source="random").SerializeToString(),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
        stages=dict(STAGES),
        channels={name: stage.channels for name, stage in written.items()},
        sha256="0" * 64,
    )
    size, layers = (64, 96), ("layer1", "layer2", "layer3")
    graph = weighed(features_graph(backbone, size=size, layers=layers))
    images, prototypes = pictures(2, size), directions(40, graph.dimensions)
    with torch.no_grad():
        stages = network(normalised(images, backbone))
    _, expected = restated([stages[name] for name in layers], (4, 8, 16), WEIGHTS, prototypes, size)
    maps, _ = run(inspector_graph(graph, prototypes, precision="fp32"), images)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("source", "target"), [(8, 64), (16, 128), (12, 192), (1, 16), (7, 50)])
def test_smoothing_is_scipys_after_torchs_upsampling(source, target) -> None:
    plane = np.random.default_rng(0).random((source, source + 3))
    up = functional.interpolate(
        torch.from_numpy(plane)[None, None], (target, 2 * target), mode="bilinear"
    )[0, 0].numpy()
    expected = gaussian_filter(up, 4.0, mode="reflect")
    rows = smoothing_matrix(source, target)
    columns = smoothing_matrix(source + 3, 2 * target)
    np.testing.assert_allclose(rows @ plane @ columns.T, expected, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=0, atol=1e-6)


def test_a_patch_that_is_a_prototype_scores_nothing_and_a_silent_image_everything(
    small_backbone, pictures
) -> None:
    given = small_backbone()
    graph = weighed(features_graph(given.backbone, size=(64, 64), layers=("layer2", "layer3")))
    images = pictures(1, (64, 64))
    patches = unit_patches(run(graph.model, images), graph.stages)[0]
    maps, scores = run(inspector_graph(graph, patches, precision="fp32"), images)
    assert np.abs(maps).max() < CLOSE
    # A backbone that answers 0 everywhere: no division by 0, the largest distance.
    silent = small_backbone()
    model = onnx.load_model_from_string(silent.backbone.model)
    for tensor in model.graph.initializer:
        zero = onnx.numpy_helper.to_array(tensor) * 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(zero, tensor.name))
    mute = replace(silent.backbone, model=model.SerializeToString())
    graph = features_graph(mute, size=(64, 64), layers=("layer2", "layer3"))
    maps, scores = run(inspector_graph(graph, patches, precision="fp32"), images)
    np.testing.assert_allclose(maps, 1, atol=CLOSE)
    np.testing.assert_allclose(scores, 1, atol=CLOSE)


def test_the_graph_says_what_it_is(small_backbone, directions) -> None:
    graph = features_graph(small_backbone().backbone, size=(64, 96), layers=("layer3",))
    model = onnx.load_model_from_string(
        inspector_graph(
            graph, directions(8, 40), precision="fp32", metadata={"protoedge.prototypes": "8"}
        )
    )
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "protoedge.prototypes": "8"
    }
    (image,) = model.graph.input
    sizes = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert sizes == ["N", 64, 96, 3]
    assert [output.name for output in model.graph.output] == ["anomaly_map", "pred_score"]
