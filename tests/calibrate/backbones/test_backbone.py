"""Backbones: the contract of a file, and the bundled one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibrate.backbones.backbone import BUNDLED, BackboneError, load_backbone


def small_model(
    *,
    input_name: str = "input",
    kind: int = TensorProto.FLOAT,
    input_shape: tuple[int | str, ...] = ("N", 3, "H", "W"),
    opset: int = 17,
) -> ModelProto:
    """One convolution with stride 4: the least that is a backbone, without our metadata."""
    kernel = np.full((16, 3, 4, 4), 0.01, helper.tensor_dtype_to_np_dtype(kind))
    node = helper.make_node("Conv", [input_name, "kernel"], ["features"], strides=[4, 4])
    graph = helper.make_graph(
        [node],
        "small",
        [helper.make_tensor_value_info(input_name, kind, input_shape)],
        [helper.make_tensor_value_info("features", kind, ["N", 16, "h", "w"])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def refusal(model: ModelProto | bytes, folder: Path) -> str:
    """The message with which `load_backbone` refuses a file: always one line that names it."""
    path = folder / "given.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    with pytest.raises(BackboneError) as error:
        load_backbone(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_plain_model_is_accepted_with_imagenet_normalisation(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(small_model(), path)
    backbone = load_backbone(path)
    assert (backbone.name, backbone.stages, backbone.channels) == (
        "small",
        {"features": 4},
        {"features": 16},
    )
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)


def test_files_that_are_no_backbone_are_refused(tmp_path: Path) -> None:
    assert "not an ONNX file" in refusal(b"\x89PNG\r\n no model", tmp_path)
    assert "not an ONNX file" in refusal(b"", tmp_path)
    assert "called `input`, has image" in refusal(small_model(input_name="image"), tmp_path)
    assert "float16 (N, 3, H, W)" in refusal(small_model(kind=TensorProto.FLOAT16), tmp_path)
    assert "opset 20" in refusal(small_model(opset=20), tmp_path)
    missing_channels = small_model(input_shape=("N", 3, "H"))
    assert "(N, 3, H)" in refusal(missing_channels, tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = small_model()
    kernel = np.full((16, 3, 4, 4), np.inf, np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    assert "weight kernel is not finite" in refusal(model, tmp_path)


def test_outputs_that_are_no_stages_are_refused(tmp_path: Path) -> None:
    none = small_model()
    del none.graph.output[:]
    assert "no stage outputs" in refusal(none, tmp_path)
    flat = small_model()
    flat.graph.node.append(helper.make_node("Flatten", ["features"], ["logits"]))
    flat.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", "D"]))
    assert "`logits` is float (N, D)" in refusal(flat, tmp_path)
    integer = small_model()
    integer.graph.node.append(helper.make_node("Cast", ["features"], ["whole"], to=7))
    shape = ["N", 16, "h", "w"]
    integer.graph.output.append(helper.make_tensor_value_info("whole", TensorProto.INT64, shape))
    assert "`whole` is int64" in refusal(integer, tmp_path)
    odd = small_model()
    odd.graph.node[0].attribute.append(helper.make_attribute("dilations", [3, 3]))
    assert "stride" in refusal(odd, tmp_path)


def test_external_weights_are_refused(tmp_path: Path) -> None:
    model = small_model()
    onnx.save(
        model,
        tmp_path / "given.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    content = (tmp_path / "given.onnx").read_bytes()
    assert "outside the file" in refusal(content, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("protoedge.kind", "inspector", "is a inspector"),
        ("protoedge.color", "bgr", "expects bgr"),
        ("protoedge.mean", "[0.5, 0.5]", "list of three numbers"),
        ("protoedge.std", "[0.5, 0.5, NaN]", "list of three numbers"),
        ("protoedge.std", "[0.5, 0, 0.5]", "list of three numbers"),
        ("protoedge.mean", "half", "list of three numbers"),
    ],
)
def test_wrong_metadata_is_refused(key: str, value: str, expected: str, tmp_path: Path) -> None:
    model = small_model()
    helper.set_model_props(model, {key: value})
    assert expected in refusal(model, tmp_path)


def test_a_network_name_without_file_says_how_to_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError, match="edge backbone export resnet18 --weights FILE"):
        load_backbone("resnet18")
    with pytest.raises(BackboneError, match="no such file; give `bundled`"):
        load_backbone("other.onnx")
    with pytest.raises(BackboneError, match="cannot be read"):
        load_backbone(tmp_path)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 2**32), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_still_a_backbone(
    position: int, value: int, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(small_model().SerializeToString())
    place = position % len(content)
    content[place] = value
    path = tmp_path_factory.mktemp("damaged") / "given.onnx"
    path.write_bytes(bytes(content[:place]) if cut else bytes(content))
    try:
        backbone = load_backbone(path)
    except BackboneError as error:
        assert "\n" not in str(error)
    else:
        assert set(backbone.stages) == set(backbone.channels)


def test_bundled_backbone_keeps_the_contract() -> None:
    backbone = load_backbone("bundled")
    assert backbone.name == "bundled"
    assert BUNDLED.stat().st_size <= 4 * 2**20
    assert backbone.stages == {"layer1": 4, "layer2": 8, "layer3": 16}
    assert backbone.channels == {"layer1": 32, "layer2": 64, "layer3": 64}
    for stages in ([16, 16], [32, 48]):
        session = onnxruntime.InferenceSession(backbone.model, providers=["CPUExecutionProvider"])
        outputs = session.run(
            None, {"input": np.ones((1, 3, 16 * stages[0], 16 * stages[1]), np.float32)}
        )
        assert outputs[2].shape == (1, 64, *stages)
        assert all(np.isfinite(output).all() and output.std() > 0 for output in outputs)


def test_loading_needs_no_torch() -> None:
    code = (
        "import sys; from calibrate.backbones.backbone import load_backbone; "
        "load_backbone('bundled'); "
        "from calibrate.backbones.export import export_backbone; "
        "sys.exit(int('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
