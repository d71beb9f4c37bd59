"""Backbones: export from weights, against torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch_networks import NETWORKS, random_image, random_network, worst_error

from calibrate.backbones.architectures import ARCHITECTURES
from calibrate.backbones.backbone import EXPORTABLE, BackboneError, load_backbone
from calibrate.backbones.export import export_backbone

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
REAL_WEIGHTS = {
    "resnet18": DATA / "weights/resnet18_imagenet1k_v1_to_layer3.safetensors",
    "mobilenet_v2": DATA / "weights/mobilenet_v2_imagenet.safetensors",
}


def save_weights(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_equals_torch_with_real_batch_norms(name: str, tmp_path: Path) -> None:
    network = random_network(name)
    weights = save_weights(network.state_dict(), tmp_path / "weights.safetensors")
    output = export_backbone(name, weights=weights, output=tmp_path / "out.onnx")
    backbone = load_backbone(output)
    assert backbone.name == name
    assert backbone.stages == {"layer1": 4, "layer2": 8, "layer3": 16}
    assert worst_error(network, backbone.model, random_image(64, 96, count=2)) <= 1e-4
    assert worst_error(network, backbone.model, random_image(128, 128)) <= 1e-4


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL_WEIGHTS)
def test_onnx_equals_torch_with_imagenet_weights(name: str, tmp_path: Path) -> None:
    if not REAL_WEIGHTS[name].is_file():
        pytest.skip(f"no {REAL_WEIGHTS[name].name} in the development data")
    network = NETWORKS[name]().eval()
    result = network.load_state_dict(load_file(REAL_WEIGHTS[name]), strict=False)
    assert [k for k in result.missing_keys if not k.endswith("num_batches_tracked")] == []
    output = export_backbone(name, weights=REAL_WEIGHTS[name], output=tmp_path / "out.onnx")
    model = load_backbone(output).model
    assert worst_error(network, model, random_image(64, 96)) <= 1e-4
    assert worst_error(network, model, random_image(224, 160)) <= 1e-4


def test_graph_has_only_static_operators(tmp_path: Path) -> None:
    weights = save_weights(random_network("resnet18").state_dict(), tmp_path / "w.safetensors")
    model = onnx.load(export_backbone("resnet18", weights=weights, output=tmp_path / "o.onnx"))
    assert {node.op_type for node in model.graph.node} == {"Conv", "Relu", "Add", "MaxPool"}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["protoedge.kind"] == "backbone"
    assert json.loads(metadata["protoedge.stages"]) == {"layer1": 4, "layer2": 8, "layer3": 16}
    assert "w.safetensors, sha256 " in metadata["protoedge.source"]


@pytest.mark.parametrize("nested", [False, True])
def test_full_checkpoint_is_accepted(nested: bool, tmp_path: Path) -> None:
    tensors = random_network("resnet18").state_dict()
    tensors |= {"layer4.0.conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": tensors} if nested else tensors, tmp_path / "resnet.pth")
    output = tmp_path / "out.onnx"
    export_backbone("resnet18", weights=tmp_path / "resnet.pth", output=output)
    assert load_backbone(output).channels == {"layer1": 64, "layer2": 128, "layer3": 256}


def timm_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """MobileNetV2's tensors under timm's names, after timm's `mobilenetv2_100` modules."""
    renamed = {}
    depths = (1, 2, 3, 4, 3)
    blocks = [(group, block) for group, depth in enumerate(depths) for block in range(depth)]
    plain = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
    wide = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2"}
    wide |= {"2": "conv_pwl", "3": "bn3"}
    for name, value in tensors.items():
        module, kind = name.rsplit(".", 1)
        if module.startswith("features.0."):
            top = {"features.0.0": "conv_stem", "features.0.1": "bn1"}[module]
            renamed[f"{top}.{kind}"] = value
            continue
        _, index, _, place = module.split(".", 3)
        group, block = blocks[int(index) - 1]
        part = (wide if group else plain)[place]
        renamed[f"blocks.{group}.{block}.{part}.{kind}"] = value
    extra = ("conv_head.weight", "bn2.weight", "blocks.5.0.conv_pw.weight", "blocks.6.0.bn3.bias")
    return renamed | {name: torch.zeros(1) for name in (*extra, "classifier.bias")}


def test_timm_names_of_mobilenet_are_understood(tmp_path: Path) -> None:
    network = random_network("mobilenet_v2")
    weights = save_weights(timm_names(network.state_dict()), tmp_path / "timm.safetensors")
    output = export_backbone("mobilenet_v2", weights=weights, output=tmp_path / "out.onnx")
    assert worst_error(network, load_backbone(output).model, random_image(64, 64)) <= 1e-4


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"layer2.0.bn1.bias": None}, "tensor layer2.0.bn1.bias is missing"),
        ({"conv1.weight": torch.zeros(64, 3, 3, 3)}, "conv1.weight has shape (64, 3, 3, 3)"),
        ({"head.weight": torch.zeros(3)}, "tensor head.weight is unexpected"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    change: dict[str, torch.Tensor | None], expected: str, tmp_path: Path
) -> None:
    tensors = random_network("resnet18").state_dict() | change
    kept = {name: value for name, value in tensors.items() if value is not None}
    weights = save_weights(kept, tmp_path / "weights.safetensors")
    with pytest.raises(BackboneError) as error:
        export_backbone("resnet18", weights=weights, output=tmp_path / "out.onnx")
    assert expected in str(error.value)
    assert str(weights) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_export_refuses_what_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(random_network("resnet18"), tmp_path / "module.pth")
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    for name in ("text.safetensors", "text.pth", "text.npz"):
        (tmp_path / name).write_text("no tensors here")
    expected = {
        "module.pth": "holds no plain tensors",
        "other.pth": "epoch is no tensor",
        "text.safetensors": "is damaged",
        "text.pth": "holds no plain tensors",
        "text.npz": "unknown kind of file",
        "absent.pth": "no such file",
    }
    for name, message in expected.items():
        with pytest.raises(BackboneError, match=message) as error:
            export_backbone("resnet18", weights=tmp_path / name, output=tmp_path / "o.onnx")
        assert "\n" not in str(error.value)


def test_export_of_an_unknown_network_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="vgg16: no such network; choose one of resnet18, "):
        export_backbone("vgg16", weights=None, output=tmp_path / "o.onnx")
    assert tuple(ARCHITECTURES) == EXPORTABLE


def test_download_offline_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackboneError) as error:
        export_backbone("resnet18", weights=None, output=tmp_path / "out.onnx")
    assert str(error.value).startswith("timm/resnet18.tv_in1k: cannot be downloaded")
    assert "--weights" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.pth").write_bytes(b"x")
    (tmp_path / "w.safetensors").write_bytes(b"x")
    for module in ("torch", "safetensors", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, module, None)
    for weights in (tmp_path / "w.pth", tmp_path / "w.safetensors", None):
        with pytest.raises(BackboneError, match=r"pip install 'protoedge\[train\]'"):
            export_backbone("resnet18", weights=weights, output=tmp_path / "out.onnx")


def test_output_into_a_missing_folder_leaves_nothing(tmp_path: Path) -> None:
    tensors = random_network("resnet18").state_dict()
    weights = save_weights(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(BackboneError, match="cannot be written"):
        export_backbone("resnet18", weights=weights, output=tmp_path / "absent/out.onnx")
    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(BackboneError, match="cannot be written"):
        export_backbone("resnet18", weights=weights, output=tmp_path / "taken.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken.onnx", "weights.safetensors"]
