"""What a TensorRT plan really executes: its layers and the type each of them computes in.

TensorRT-RTX says it in its build log, behind ``Layers:``; TensorRT in the engine inspector's JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from engines.engine import Precision

Kind = Literal["convolution", "gemm", "other", "sync"]

_LINE = re.compile(
    r"^\s*Name: (?P<name>.*?), LayerType: (?P<kind>[^,]+), Inputs: \[(?P<inputs>.*?)\]"
    r"(?:, Constants: \[(?P<constants>.*?)\])?, Outputs: \[(?P<outputs>.*?)\], "
    r"TacticName: (?P<tactic>[^,]*)"
)
_TENSOR = re.compile(r"\{ Name: .*?, Dimensions: \[(?P<dims>[^\]]*)\].*?Datatype: (?P<type>\w+)")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_SYNC = re.compile(r"^(signal|wait)$")
_STUB = "CASK_STUB"  # TensorRT-RTX picks the kernel when the plan is loaded
_FUSED = re.compile(r"^runtime_")  # compiled when the plan is loaded; its name says of what
_CONVOLUTION = re.compile(r"conv|correlation", re.IGNORECASE)
_GEMM = re.compile(r"gemm|matrixmultiply|matmul", re.IGNORECASE)
_TYPES = (
    ("uint8", re.compile(r"uint8", re.IGNORECASE)),
    ("int8", re.compile(r"int8", re.IGNORECASE)),
    ("bf16", re.compile(r"bf16|bfloat", re.IGNORECASE)),
    ("fp8", re.compile(r"fp8|float8", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)
_SIZES = {"uint8": 1, "int8": 1, "fp8": 1, "bool": 1, "bf16": 2, "fp16": 2, "int64": 8}  # else 4


class Layer(BaseModel):
    """One layer of a plan.

    Attributes:
        name: TensorRT's own.
        kind: whether it is one of those that cost time; ``sync`` runs no kernel.
        inputs: types of what it reads, such as ``fp16``, without its constants.
        outputs: types of what it writes.
        tactic: the kernel, or the tactic that stands for it; empty if it isn't known yet.
        nodes: the graph's nodes that went into it.
        activation_bytes: that it reads and writes, of one image where the batch is free; 0 if the
            list doesn't say.
        constant_bytes: that it reads besides, such as weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tactic: str
    nodes: tuple[str, ...]
    activation_bytes: int = 0
    constant_bytes: int = 0

    @property
    def precision(self) -> str:
        """Type of what it reads first, which it computes in; empty if it reads nothing."""
        return self.inputs[0] if self.inputs else ""


def layers_from_log(message: str) -> tuple[Layer, ...]:
    """Parse the log message of TensorRT-RTX that begins with ``Layers:``."""
    found = []
    for line in message.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        inputs, constants, outputs = (
            [
                (_type(tensor["type"]), tensor["dims"])
                for tensor in _TENSOR.finditer(match[part] or "")
            ]
            for part in ("inputs", "constants", "outputs")
        )
        tactic = match["tactic"].strip()
        fused = f" {match['name']}" if _FUSED.match(match["kind"]) else ""
        found.append(
            Layer(
                name=match["name"],
                kind=_kind(match["kind"] + fused),
                inputs=tuple(kind for kind, _ in inputs),
                outputs=tuple(kind for kind, _ in outputs),
                tactic="" if _STUB in tactic else tactic,
                nodes=tuple(_NODE.findall(line)),
                activation_bytes=sum(_bytes(*tensor) for tensor in (*inputs, *outputs)),
                constant_bytes=sum(_bytes(*tensor) for tensor in constants),
            )
        )
    return tuple(found)


def layers_from_inspector(text: str) -> tuple[Layer, ...]:
    """Parse the engine inspector's JSON; the tensors' type has been under three keys so far.

    Raises:
        ValueError: it is not JSON.
    """
    content = json.loads(text)
    entries = content.get("Layers", []) if isinstance(content, dict) else []
    found = []
    for entry in entries:
        if not isinstance(entry, dict):
            continue  # names only: the plan was not built with detailed verbosity
        inputs, outputs = (
            tuple(_tensor_type(tensor) for tensor in entry.get(part, []))
            for part in ("Inputs", "Outputs")
        )
        described = f"{entry.get('ParameterType', '')} {entry.get('LayerType', '')}".strip()
        found.append(
            Layer(
                name=str(entry.get("Name", "")),
                kind=_kind(described),
                inputs=inputs,
                outputs=outputs,
                tactic=str(entry.get("TacticName") or entry.get("TacticValue") or ""),
                nodes=tuple(_NODE.findall(str(entry.get("Metadata", "")))),
            )
        )
    return tuple(found)


def kernels(layers: Iterable[Layer]) -> int:
    """How many of them run something on the GPU."""
    return sum(layer.kind != "sync" for layer in layers)


def executes(layers: Iterable[Layer]) -> str:
    """The types that convolutions compute in, such as ``int8+fp16``; ``unknown`` without layers."""
    found = {layer.precision for layer in layers if layer.kind == "convolution"}
    return "+".join(name for name, _ in _TYPES if name in found) or "unknown"


def precision_problem(layers: Sequence[Layer], precision: Precision) -> str | None:
    """Why a plan isn't at all what was asked for, or None.

    `engines.plans.precision_proof` looks at each layer.

    Some convolutions may stay higher on purpose, where the graph says so. Without any listed
    nothing can be said here.
    """
    count = Counter(layer.precision for layer in layers if layer.kind == "convolution")
    total = sum(count.values())
    if not total or count[precision]:
        return None
    counts = ", ".join(f"{number} in {name}" for name, number in count.most_common())
    return f"{precision} was asked for, but of {total} convolutions run {counts}"


def _kind(described: str) -> Kind:
    if _SYNC.match(described):
        return "sync"
    if _CONVOLUTION.search(described):
        return "convolution"
    return "gemm" if _GEMM.search(described) else "other"


def _type(described: str) -> str:
    return next((name for name, pattern in _TYPES if pattern.search(described)), described.lower())


def _tensors(listed: str) -> list[tuple[str, str]]:
    """Types and dimensions of what a line of the log lists."""
    return [(_type(tensor["type"]), tensor["dims"]) for tensor in _TENSOR.finditer(listed)]


def _bytes(kind: str, dimensions: str) -> int:
    """Of a tensor whose dimensions are listed as ``1,64,32,32``; -1 is a free batch."""
    lengths = (abs(int(length)) for length in re.findall(r"-?\d+", dimensions))
    return prod(lengths) * _SIZES.get(kind, 4)


def _tensor_type(tensor: Any) -> str:
    keys = ("Datatype", "DataType", "Format/Datatype")
    return _type(str(next((tensor[key] for key in keys if key in tensor), "")))
