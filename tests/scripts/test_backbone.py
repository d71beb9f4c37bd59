"""How the bundled backbone is trained: rounding, drawn parts, and a run that can be repeated."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import train_backbone  # noqa: E402
from backbone.pack import pack_slim  # noqa: E402
from backbone.parts import draw_part  # noqa: E402
from backbone.resnet import resnet18  # noqa: E402
from backbone.rounding import Convolution, set_rounding  # noqa: E402
from backbone.slim import Ranks, SlimResNet, start_from  # noqa: E402
from backbone.views import read_images, view  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch_networks import random_image, random_network, worst_error  # noqa: E402

from calibrate.backbones.backbone import load_backbone  # noqa: E402
from calibrate.defects.textures import draw_square_texture  # noqa: E402


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
    part, again = (draw_part(fill, rng=np.random.default_rng(seed)) for _ in range(2))
    assert (part.shape, part.dtype) == ((size, size, 3), np.uint8)
    np.testing.assert_array_equal(part, again)


def test_drawn_parts_differ_in_shape_and_leave_ground_free() -> None:
    white = np.full((96, 96, 3), 255, np.uint8)
    parts = [draw_part(white, rng=np.random.default_rng(seed)) for seed in range(40)]
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


def run_script(material: tuple[Path, Path], output: Path, *, steps: int = 4) -> None:
    """Train in this process, one thread."""
    given = {"images": material[0], "weights": material[1], "output": output}
    given |= {"steps": steps, "batch": 2, "size": 32, "keep-every": 2}
    words = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_backbone.py", *words])
        train_backbone.main()


class Stopped(Exception):  # noqa: N818
    pass


def test_a_run_repeats_itself_even_when_it_was_stopped(material, tmp_path, monkeypatch) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_script(material, whole)
    keep = train_backbone.checkpoint

    def stop(*given, **named) -> None:
        keep(*given, **named)
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(train_backbone, "checkpoint", stop)
        run_script(material, broken)
    assert len((broken / "loss.csv").read_text().splitlines()) == 3
    assert not (broken / "backbone.onnx").exists()
    with pytest.raises(SystemExit, match="holds a run with other settings; give another --output"):
        run_script(material, broken, steps=5)
    run_script(material, broken)
    losses = (whole / "loss.csv").read_text()
    assert len(losses.splitlines()) == 5
    assert (broken / "loss.csv").read_text() == losses
    weights = [(run / "student.safetensors").read_bytes() for run in (whole, broken)]
    assert weights[0] == weights[1]
    backbone = load_backbone(broken / "backbone.onnx")
    assert backbone.stages == {"layer1": 4, "layer2": 8, "layer3": 16}
    assert backbone.channels == {"layer1": 32, "layer2": 64, "layer3": 64}


def test_student_of_full_rank_equals_its_teacher() -> None:
    teacher = random_network("resnet18")
    student = SlimResNet(Ranks(64, 64, 128, 256), shape_of=teacher).eval()
    image = torch.from_numpy(random_image(64, 64, count=2))
    start_from(teacher, student=student, batches=[image])
    with torch.no_grad():
        found, wanted = student(image), teacher(image)
    for name, stage in wanted.items():
        kept = student.head(name)(stage)
        assert torch.allclose(found[name], kept, atol=1e-4 * float(stage.abs().max()))


def test_outputs_keep_the_scalar_products_of_the_teachers_stages() -> None:
    """As far as the leading directions reach: all of what few patches span."""
    teacher = random_network("resnet18")
    student = SlimResNet(Ranks(64, 64, 128, 256), shape_of=teacher).eval()
    image = torch.from_numpy(random_image(64, 64))
    start_from(teacher, student=student, batches=[image])
    with torch.no_grad():
        wide, narrow = (
            network(image)["layer3"].flatten(2)[0].T.double() for network in (teacher, student)
        )
    assert wide.shape == (16, 256)
    assert narrow.shape == (16, 64)
    products = wide @ wide.T
    torch.testing.assert_close(narrow @ narrow.T, products, rtol=0, atol=1e-4 * products.max())


def test_packed_student_is_half_precision_on_disk_only(tmp_path: Path) -> None:
    student = SlimResNet(Ranks(), shape_of=resnet18()).half().float().eval()
    weights = tmp_path / "student.safetensors"
    save_file({k: v.contiguous() for k, v in student.state_dict().items()}, weights)
    path = pack_slim(weights, origin="a test", output=tmp_path / "slim.onnx")
    backbone = load_backbone(path)
    model = onnx.load_model_from_string(backbone.model)
    assert path.stat().st_size < 0.6 * len(backbone.model)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}
    assert "Cast" not in {node.op_type for node in model.graph.node}
    assert worst_error(student, path.read_bytes(), random_image(64, 96)) <= 1e-4
    assert worst_error(student, backbone.model, random_image(64, 96)) <= 1e-4


def test_views_are_reproducible_and_of_one_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 90, 3), (64, 64, 3))]
    first = [view(images, size=48, rng=np.random.default_rng(seed)) for seed in range(60)]
    again = [view(images, size=48, rng=np.random.default_rng(seed)) for seed in range(60)]
    for one, two in zip(first, again, strict=True):
        assert one.shape == (48, 48, 3)
        assert one.dtype == np.uint8
        assert np.array_equal(one, two)
    assert draw_square_texture(48, rng=rng).std() > 0
    with pytest.raises(ValueError, match="no images"):
        read_images(tmp_path)
