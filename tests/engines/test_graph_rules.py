"""No tensor of a graph may lie in another file, wherever in the graph it is."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from bundle_files import manifest
from onnx import TensorProto, helper

from engines.bundle import Bundle, write_bundle
from engines.errors import BundleError
from engines.graph_rules import graph_problem


def secret(path: str = "/etc/hostname") -> TensorProto:
    """A weight that is what another file holds."""
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)
    return tensor


def constant(**attributes: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["secret"], **attributes)


def graph_with(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(nodes, "inner", [], [])


def _initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(secret())


def _sparse_values(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(secret())


def _sparse_indices(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(secret())


def _attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(constant(value=secret("../../secret")))


def _attribute_list(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["secret"])
    node.attribute.add(name="values", type=onnx.AttributeProto.TENSORS).tensors.append(secret())
    model.graph.node.append(node)


def _sparse_attribute(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["secret"])
    kind = onnx.AttributeProto.SPARSE_TENSOR
    node.attribute.add(name="sparse_value", type=kind).sparse_tensor.values.CopyFrom(secret())
    model.graph.node.append(node)


def _branch(model: onnx.ModelProto) -> None:
    inner = graph_with(constant(value=secret()))
    outer = graph_with(helper.make_node("If", ["c"], ["o"], then_branch=inner, else_branch=inner))
    branches = {"then_branch": outer, "else_branch": outer}
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], **branches))


def _branch_initializer(model: onnx.ModelProto) -> None:
    inner = graph_with()
    inner.initializer.append(secret())
    model.graph.node.append(helper.make_node("Loop", ["n", "c"], ["o"], body=inner))


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="").node.append(constant(value=secret()))


def _function_default(model: onnx.ModelProto) -> None:
    made = model.functions.add(name="f", domain="").attribute_proto.add(name="a")
    made.t.CopyFrom(secret())


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(secret())


def _training_algorithm(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.node.append(constant(value=secret()))


def _place_alone(model: onnx.ModelProto) -> None:
    """Its location is the usual one, and yet it names a file."""
    tensor = secret()
    tensor.ClearField("data_location")
    model.graph.initializer.append(tensor)


PLACES: list[Callable[[onnx.ModelProto], None]] = [
    _initializer,
    _sparse_values,
    _sparse_indices,
    _attribute,
    _attribute_list,
    _sparse_attribute,
    _branch,
    _branch_initializer,
    _function,
    _function_default,
    _training,
    _training_algorithm,
    _place_alone,
]


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_another_file_is_found_wherever_it_is(inspector_graph, place) -> None:
    model = onnx.load_model_from_string(inspector_graph(channels=2))
    assert graph_problem(model) == ""
    place(model)
    # As it is read from a file, not as it was put together here.
    again = onnx.load_model_from_string(model.SerializeToString())
    assert "outside the file" in graph_problem(again)


def test_operators_that_load_files_of_their_own_are_refused(inspector_graph) -> None:
    model = onnx.load_model_from_string(inspector_graph(channels=2))
    node = helper.make_node("EPContext", [], ["o"], ep_cache_context="/etc/shadow")
    node.domain = "com.microsoft"
    inner = graph_with(node)
    branches = {"then_branch": inner, "else_branch": inner}
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], **branches))
    assert "'com.microsoft'" in graph_problem(model)


def test_no_engine_and_no_message_sees_the_other_file(tmp_path, contents) -> None:
    """The file is there and fits: it is refused for where it lies, and nothing of it is told."""
    outside = tmp_path / "outside"
    outside.write_text("hunter2!")
    model = onnx.load_model_from_string(contents["model.onnx"])
    model.graph.node.append(constant(value=secret(str(outside))))
    files = {**contents, "model.onnx": model.SerializeToString()}
    written = write_bundle(tmp_path / "b.edge", manifest=manifest(), files=files)
    with pytest.raises(BundleError, match="outside the file") as caught:
        Bundle.open(written.path)
    shown = str(caught.value) + str(caught.value.__cause__) + str(caught.value.__context__)
    assert "hunter2" not in shown and str(outside) not in shown


def test_a_bundle_without_golden_images_is_refused() -> None:
    with pytest.raises(ValueError, match="no golden image"):
        manifest(golden=())
