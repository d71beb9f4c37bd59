"""Nothing starts unproven: the self-test, and what was changed in a bundle's files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.inspection.inspector import load
from engines.bundle import Bundle, write_bundle
from engines.changes import edit_manifest
from engines.cpu.onnxruntime import OnnxRuntimeEngine
from engines.errors import BundleError, EngineError

ENGINE = "onnxruntime"


@pytest.fixture
def opened() -> Iterator[list[OnnxRuntimeEngine]]:
    """Every engine that was opened during a test; all of them must be closed at its end."""
    found: list[OnnxRuntimeEngine] = []
    original = OnnxRuntimeEngine.__init__

    def noted(self, *args, **kwargs) -> None:
        original(self, *args, **kwargs)
        found.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxRuntimeEngine, "__init__", noted)
        yield found
    assert all(engine._session is None for engine in found)


def tampered(built: Path, target: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """A bundle that is whole, but whose graph is not the one its scores were made with."""
    bundle = Bundle.open(built)
    model = onnx.load_model_from_string(bundle.model())
    change(model)
    files: dict[str, bytes | Path] = {name: bundle.read(name) for name in bundle.manifest.files}
    files["model.onnx"] = model.SerializeToString()
    return write_bundle(target, manifest=bundle.manifest, files=files).path


def weights(*names: str, how: Callable[[np.ndarray], np.ndarray]) -> Callable[..., None]:
    """Change stored tensors by name; a number counts the convolutions."""

    def change(model: onnx.ModelProto) -> None:
        convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
        wanted = [convolutions[int(n)].input[1] if n.lstrip("-").isdigit() else n for n in names]
        found = [weight for weight in model.graph.initializer if weight.name in wanted]
        assert len(found) == len(set(wanted)), wanted
        for weight in found:
            old = numpy_helper.to_array(weight)
            new = np.asarray(how(old), old.dtype)
            assert new.shape == old.shape
            assert not np.array_equal(new, old, equal_nan=True), "nothing was changed"
            weight.CopyFrom(numpy_helper.from_array(new, weight.name))

    return change


def without(kind: str) -> Callable[[onnx.ModelProto], None]:
    """Leave out every node of a kind."""

    def change(model: onnx.ModelProto) -> None:
        passed = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == kind}
        kept = [node for node in model.graph.node if node.op_type != kind]
        assert passed
        for node in kept:
            node.input[:] = [passed.get(name, name) for name in node.input]
        del model.graph.node[:]
        model.graph.node.extend(kept)

    return change


def noise(share: float) -> Callable[[np.ndarray], np.ndarray]:
    random = np.random.default_rng(0)
    return lambda old: old + share * old.std() * random.normal(size=old.shape)


PROTOTYPES = "head/layer2/whitened/product_0/prototypes"
MUTATIONS = {
    "prototypes shuffled": weights(
        PROTOTYPES,
        how=lambda old: np.random.default_rng(0).permuted(old, axis=1),
    ),
    "prototypes mirrored": weights(PROTOTYPES, how=lambda old: old[:, ::-1]),
    "prototypes negated": weights(PROTOTYPES, how=lambda old: -old),
    "prototypes too long": weights(PROTOTYPES, how=lambda old: old * 1.02),
    "prototypes too short": weights(PROTOTYPES, how=lambda old: old * 0.98),
    "prototypes lost": weights(PROTOTYPES, how=lambda old: old[:1].repeat(len(old), 0)),
    "prototypes noisy": weights(PROTOTYPES, how=noise(0.3)),
    "prototypes NaN": weights(PROTOTYPES, how=lambda old: old * np.nan),
    "first kernels shuffled": weights("0", how=lambda old: old[::-1]),
    "first kernels noisy": weights("0", how=noise(0.3)),
    "middle kernels noisy": weights("9", how=noise(0.5)),
    "middle kernels zero": weights("9", how=lambda old: old * 0),
    "kernels turned": weights("4", how=lambda old: old[:, :, ::-1, ::-1]),
    "last kernels negated": weights("-2", how=lambda old: -old),
    "colours swapped": weights("pre/order", how=lambda old: old[::-1]),
    "mean forgotten": weights("pre/mean", how=lambda old: old * 0),
    "scale forgotten": weights("pre/scale", how=lambda old: old * 255),
    "scale halved": weights("pre/scale", how=lambda old: old / 2),
    "one is more": weights("head/one", how=lambda old: old + 0.01),
    "one is NaN": weights("head/one", how=lambda old: old * np.nan),
    "smoothing forgotten": weights(
        "head/rows", "head/columns", how=lambda old: (old >= old.max()) * 1.0
    ),
    "smoothing doubled": weights("head/rows", how=lambda old: old * 1.1),
    "sampling doubled": weights("head/sampled_columns", how=lambda old: old * 1.1),
    "stage unweighed": weights("head/layer3/whitened/matrix", how=lambda old: old * 3),
    "epsilon too large": weights("head/epsilon", how=lambda old: old + 1e3),
    "no ReLU": without("Relu"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_graph_that_is_not_the_one_measured_is_refused(name, built, tmp_path, opened) -> None:
    path = tampered(built, tmp_path / "other.edge", MUTATIONS[name])
    with pytest.raises(EngineError, match=r"(instead of|with a score of) .*try --engine") as caught:
        load(path, engine=ENGINE)
    assert "\n" not in str(caught.value)
    assert len(opened) == 1  # and the fixture sees it closed


def test_the_unchanged_graph_passes_the_self_test(built, tmp_path, opened) -> None:
    load(tampered(built, tmp_path / "same.edge", lambda model: None), engine=ENGINE).close()
    assert len(opened) == 1


def test_the_engine_is_closed_when_the_self_test_is_interrupted(built, opened, monkeypatch) -> None:
    def interrupted(self, images):
        raise KeyboardInterrupt

    monkeypatch.setattr(OnnxRuntimeEngine, "infer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(built, engine=ENGINE)
    assert len(opened) == 1


def test_a_threshold_that_was_changed_in_the_file_is_refused(bundle) -> None:
    path = bundle / "manifest.json"
    record = json.loads(path.read_text())
    record["threshold"]["value"] *= 2
    path.write_text(json.dumps(record))
    with pytest.raises(BundleError, match="damaged"):
        load(bundle, engine=ENGINE)


def test_a_threshold_that_was_set_by_the_program_is_taken(bundle, good_image) -> None:
    edit_manifest(Bundle.open(bundle), threshold=0.9)
    with load(bundle, engine=ENGINE) as loaded:
        assert loaded.inspect(good_image).threshold == 0.9


def test_a_golden_image_or_model_that_was_changed_in_the_file_is_refused(bundle) -> None:
    for name in ("golden/good.png", "model.onnx"):
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
        with pytest.raises(BundleError, match="damaged"):
            load(bundle, engine=ENGINE)
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
    load(bundle, engine=ENGINE).close()


def test_the_second_start_on_a_cpu_compiles_nothing(bundle, good_image, monkeypatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from engines.cpu import openvino_compile

    def compiled(*given: object) -> None:
        raise AssertionError("compiled again")

    with load(bundle, engine="openvino") as first:
        score = first.inspect(good_image).score
    monkeypatch.setattr(openvino_compile, "_compile", compiled)
    with load(bundle, engine="openvino") as second:
        assert second.inspect(good_image).score == score


@pytest.mark.slow
def test_the_other_engine_passes_the_self_test_in_every_precision(
    drawn, tmp_path, monkeypatch
) -> None:
    """A bundle is built on one machine and deployed on another; no gate is asked, few folds."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from plain_builds import leave_out

    from edge.building.build import build
    from edge.options import BuildOptions

    leave_out(monkeypatch, compared=False)
    for precision in ("fp32", "fp16", "int8"):
        options = BuildOptions(
            precision=precision,
            size=(128, 128),
            prototypes=64,
            engine="openvino",
        )
        made = build(drawn / "train" / "good", tmp_path / f"{precision}.edge", options=options)
        for engine in ("openvino", "onnxruntime"):
            load(made.bundle.path, engine=engine).close()
