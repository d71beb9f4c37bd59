"""What no graph of a bundle may have: anything that makes an engine open another file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from google.protobuf.message import Message  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import onnx

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def graph_problem(model: onnx.ModelProto) -> str:
    """Why a graph is not self-contained; empty if it is.

    Tensors are found wherever the format can have one: initializers, dense and sparse, attributes
    of nodes, graphs in graphs, functions and training information. One that lies in another file
    may name any file of this machine. Operators that are not ONNX's own may load whatever their
    attributes name.
    """
    import onnx

    for part in _parts(model):
        if isinstance(part, onnx.TensorProto):
            if part.data_location == onnx.TensorProto.EXTERNAL or len(part.external_data):
                return "its weights lie outside the file"
        elif isinstance(part, onnx.NodeProto) and part.domain not in STANDARD_DOMAINS:
            return f"it has an operator of {part.domain!r}, and only ONNX's own are run"
    return ""


def _parts(message: Message) -> Iterator[Message]:
    """A message and all messages in it, however deep: the parser allows no more than 100."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if isinstance(value, Message) else value)
