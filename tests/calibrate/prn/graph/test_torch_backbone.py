"""The frozen backbone in torch computes what ONNX Runtime does, and cannot be trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from calibrate.backbones.backbone import Backbone, BackboneError, load_backbone  # noqa: E402
from calibrate.prn.graph.torch_backbone import FrozenBackbone  # noqa: E402
from calibrate.prn.options import prn_stages  # noqa: E402


def by_onnxruntime(backbone: Backbone, images: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(backbone.model, providers=["CPUExecutionProvider"])
    planes = images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (backbone.mean, backbone.std))
    names = list(prn_stages(backbone))
    return dict(zip(names, session.run(names, {"input": (planes - mean) / std}), strict=True))


def changed(backbone: Backbone, kind: str, **attributes: object) -> Backbone:
    """The first node of a kind with other attributes; `op_type` is its operator."""
    model = onnx.load_model_from_string(backbone.model)
    node = next(node for node in model.graph.node if node.op_type == kind)
    node.op_type = str(attributes.pop("op_type", kind))
    for name, value in attributes.items():
        for known in [a for a in node.attribute if a.name == name]:
            node.attribute.remove(known)
        node.attribute.append(onnx.helper.make_attribute(name, value))
    return replace(backbone, model=model.SerializeToString())


def test_the_bundled_one_is_as_in_onnxruntime(pictures) -> None:
    backbone = load_backbone("bundled")
    images = pictures(2, (64, 96))
    wanted = by_onnxruntime(backbone, images)
    found = FrozenBackbone(backbone, stages=prn_stages(backbone))(torch.from_numpy(images))
    assert list(found) == list(wanted)
    for name, stage in wanted.items():
        np.testing.assert_allclose(found[name].numpy(), stage, rtol=1e-3, atol=1e-3)


def test_mobilenet_s_operators_are_known(pictures) -> None:
    """Depthwise convolutions, ReLU6 as Clip, shortcuts."""
    from calibrate.backbones.graph import GraphWriter, StageOutput

    random = np.random.default_rng(0)

    def kernel(after: int, before: int, side: int) -> np.ndarray:
        return random.normal(0, 0.4, (after, before, side, side)).astype(np.float32)

    graph, name, stages = GraphWriter(), "input", {}
    name = graph.relu6(graph.conv(name, kernel(8, 3, 3), np.ones(8, np.float32), stride=2))
    for index in range(3):
        wide = graph.relu6(graph.conv(name, kernel(8, 1, 3), None, groups=8))
        name = graph.maxpool(graph.add(name, graph.conv(wide, kernel(8, 8, 1), None)))
        stages[f"layer{index + 1}"] = StageOutput(name, 8, 4 * 2**index)
    model = graph.model(stages, name="inverted", source="random")
    strides = {layer: stage.stride for layer, stage in stages.items()}
    backbone = replace(
        load_backbone("bundled"),
        model=model.SerializeToString(),
        stages=strides,
        channels=dict.fromkeys(strides, 8),
    )
    images = pictures(1, (64, 64))
    found = FrozenBackbone(backbone, stages=prn_stages(backbone))(torch.from_numpy(images))
    for name, stage in by_onnxruntime(backbone, images).items():
        np.testing.assert_allclose(found[name].numpy(), stage, rtol=1e-4, atol=1e-4)


def test_it_cannot_be_trained(small_backbone, pictures) -> None:
    backbone = small_backbone().backbone
    frozen = FrozenBackbone(backbone, stages=prn_stages(backbone))
    holder = torch.nn.Sequential(frozen).train()
    assert holder.training
    assert not frozen.training
    assert list(frozen.parameters()) == []
    assert not any(
        s.requires_grad for s in frozen(torch.from_numpy(pictures(1, (64, 64)))).values()
    )


def test_it_is_no_part_of_a_network_s_weights(small_backbone) -> None:
    backbone = small_backbone().backbone
    assert FrozenBackbone(backbone, stages=["layer1"]).state_dict() == {}


def test_only_what_is_wanted_is_computed(small_backbone, pictures) -> None:
    backbone = small_backbone().backbone
    some = FrozenBackbone(backbone, stages=["layer1"])
    whole = FrozenBackbone(backbone, stages=["layer1", "layer3"])
    assert len(list(some.buffers())) < len(list(whole.buffers()))
    assert list(some(torch.from_numpy(pictures(1, (64, 64))))) == ["layer1"]


@pytest.mark.parametrize(
    ("kind", "attributes", "message"),
    [
        ("Relu", {"op_type": "Sigmoid"}, "operator Sigmoid, which PRN cannot train on"),
        ("Conv", {"pads": [1, 1, 0, 0]}, "pads unevenly"),
        ("Conv", {"auto_pad": "SAME_UPPER"}, "pads unevenly or by itself"),
    ],
)
def test_what_torch_would_compute_otherwise_is_refused(
    small_backbone, kind: str, attributes: dict[str, object], message: str
) -> None:
    backbone = changed(small_backbone().backbone, kind, **attributes)
    with pytest.raises(BackboneError, match=message):
        FrozenBackbone(backbone, stages=prn_stages(backbone))
