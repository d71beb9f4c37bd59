"""How the bundled backbone is trained: rounding, drawn parts, and a run that can be repeated."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from calibrate.backbones.backbone import load_backbone
from calibrate.backbones.parts import drawn_part
from calibrate.backbones.resnet import resnet18
from calibrate.backbones.rounding import Convolution, set_rounding

ROOT = Path(__file__).resolve().parents[2]


def quantised_convolution(convolution: Convolution, image: np.ndarray) -> np.ndarray:
    """The same convolution as ONNX Runtime computes it between Q/DQ pairs."""
    weight = convolution.weight.detach().numpy()
    scales = np.abs(weight).max((1, 2, 3)) / 127
    scale = np.float32(np.abs(image).max() / 127)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    constants = {
        "s": scale,
        "z": np.int8(0),
        "w": weight,
        "ws": scales.astype(np.float32),
        "wz": np.zeros(len(scales), np.int8),
        "b": convolution.bias.detach().numpy(),
    }
    graph = helper.make_graph(
        nodes,
        "rounded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5, 12, 12])],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": image})[0]


def test_rounding_is_that_of_an_int8_graph() -> None:
    torch.manual_seed(0)
    convolution = Convolution(8, 5, 3, padding=1)
    with torch.no_grad():
        convolution.weight *= torch.tensor([0.01, 0.1, 1.0, 10.0, 0.0]).view(5, 1, 1, 1)
    image = torch.randn(2, 8, 12, 12)
    exact = convolution(image)
    set_rounding(torch.nn.Sequential(convolution), True)
    rounded = convolution(image)
    expected = quantised_convolution(convolution, image.numpy())
    np.testing.assert_allclose(rounded.detach().numpy(), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(rounded[:, :4], exact[:, :4], atol=1e-4)
    rounded.square().sum().backward()
    assert convolution.weight.grad is not None
    assert (convolution.weight.grad[:4].abs() > 0).all(), "rounding must pass gradients on"
    set_rounding(convolution, False)
    assert torch.equal(convolution(image), exact)


def test_rounding_bears_silence() -> None:
    convolution = Convolution(4, 4, 1)
    convolution.rounds = True
    found = convolution(torch.zeros(1, 4, 3, 3))
    assert torch.allclose(found, convolution.bias.view(1, 4, 1, 1).expand(1, 4, 3, 3))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(16, 96))
def test_a_drawn_part_is_decided_by_its_seed(seed, size) -> None:
    fill = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    part, again = (drawn_part(fill, rng=np.random.default_rng(seed)) for _ in range(2))
    assert (part.shape, part.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_array_equal(part, again)


def test_drawn_parts_differ_in_shape_and_leave_ground_free() -> None:
    white = np.full((96, 96, 3), 255, np.uint8)
    parts = [drawn_part(white, rng=np.random.default_rng(seed)) for seed in range(40)]
    assert len({part.tobytes() for part in parts}) == 40
    edges = [cv2.Canny(part, 40, 120).mean() / 255 for part in parts]
    assert np.median(edges) > 0.005, "most parts have a rim"
    assert np.median(edges) < 0.25, "most of a picture is plain"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of images, and a teacher's weights."""
    folder = tmp_path_factory.mktemp("material")
    random = np.random.default_rng(0)
    for index in range(3):
        noise = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        path = folder / "images" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), cv2.resize(noise, (64, 64), interpolation=cv2.INTER_CUBIC))
    torch.manual_seed(0)
    save_file(resnet18().state_dict(), folder / "teacher.safetensors")
    return folder / "images", folder / "teacher.safetensors"


def command(material: tuple[Path, Path], output: Path) -> list[str]:
    given = {"images": material[0], "weights": material[1], "output": output}
    given |= {"steps": 8, "batch": 2, "size": 32, "keep-every": 2}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return [sys.executable, str(ROOT / "scripts" / "train_backbone.py"), *options]


@pytest.fixture(scope="module")
def whole(material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(command(material, folder), cwd=ROOT, check=True, capture_output=True)
    return folder


def test_training_repeats_itself_even_after_a_kill(material, whole, tmp_path) -> None:
    killed = subprocess.Popen(command(material, tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "loss.csv").is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    assert 2 <= len((tmp_path / "loss.csv").read_text().splitlines()) - 1 < 8
    assert not (tmp_path / "backbone.onnx").exists()
    subprocess.run(command(material, tmp_path), cwd=ROOT, check=True, capture_output=True)
    losses = (whole / "loss.csv").read_text()
    assert len(losses.splitlines()) == 9
    assert (tmp_path / "loss.csv").read_text() == losses
    weights = [(run / "student.safetensors").read_bytes() for run in (whole, tmp_path)]
    assert weights[0] == weights[1]
    backbone = load_backbone(tmp_path / "backbone.onnx")
    assert backbone.stages == {"layer1": 4, "layer2": 8, "layer3": 16}
    assert backbone.channels == {"layer1": 32, "layer2": 64, "layer3": 64}


def test_a_run_with_other_settings_is_not_continued(material, whole) -> None:
    other = command(material, whole)
    other[other.index("--steps") + 1] = "9"
    done = subprocess.run(other, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "holds a run with other settings; give another --output" in done.stderr
