"""TensorRT 10.3, 10.16 and 11 on a machine without a GPU: TensorRT-RTX behind their faces.

Parsing and compiling are real. What TensorRT-RTX has not is played: a version, typed flags of 10.x,
a timing cache that grows, an inspector of plans, and strongly typed graphs that 10.3 refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engines.plans.layers import layers_from_log

FLAGS = ("FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS")
WORDS = {"fp32": "Float", "fp16": "Half", "int8": "Int8", "uint8": "UInt8"}


@dataclass
class Calls:
    """What the double was asked."""

    strong: list[bool] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    bound: dict[str, str] = field(default_factory=dict)
    workspace: list[int] = field(default_factory=list)
    hardware: list[Any] = field(default_factory=list)
    caches: list[bytes] = field(default_factory=list)
    inspected: list[bytes] = field(default_factory=list)
    host_code: list[bool] = field(default_factory=list)


class Double:
    """A module `tensorrt`.

    Args:
        rtx: the real module.
        version: that it pretends to be.
        refuses_strong: build no strongly typed network, as 10.3 does with some graphs.
        spoil: changes what the inspector says, layer by layer.
    """

    def __init__(
        self,
        rtx: Any,
        *,
        version: str,
        refuses_strong: bool = False,
        spoil: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._rtx = rtx
        self.__version__ = version
        self.refuses_strong = refuses_strong
        self.spoil = spoil
        self.calls = Calls()
        self.layers = ""
        self.plan = b""
        for name in ("ILogger", "IProgressMonitor", "ProfilingVerbosity", "LayerType"):
            setattr(self, name, getattr(rtx, name))
        self.NetworkDefinitionCreationFlag = rtx.NetworkDefinitionCreationFlag
        self.MemoryPoolType = rtx.MemoryPoolType
        self.LayerInformationFormat = rtx.LayerInformationFormat
        self.HardwareCompatibilityLevel = rtx.HardwareCompatibilityLevel
        self.float32, self.float16 = rtx.float32, rtx.float16
        self.BuilderFlag = _Flags(rtx)

    def Builder(self, log: Any) -> Any:  # noqa: N802 - TensorRT's name
        return _Builder(self, log)

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802
        return self._rtx.OnnxParser(network.real, log)

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        return _Runtime(self)


class _Flags:
    def __init__(self, rtx: Any) -> None:
        self.TF32 = rtx.BuilderFlag.TF32
        self.VERSION_COMPATIBLE = "VERSION_COMPATIBLE"
        for name in FLAGS:
            setattr(self, name, name)


class _Builder:
    def __init__(self, double: Double, log: Any) -> None:
        self._double, self._log = double, log
        self._real = double._rtx.Builder(log)

    def create_network(self, flags: int) -> Any:
        strong = 1 << int(self._double.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self._double.calls.strong.append(flags == strong)
        return _Network(self._double, self._real.create_network(strong), strong=flags == strong)

    def create_builder_config(self) -> Any:
        return _Config(self._double, self._real.create_builder_config())

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        if network.strong and self._double.refuses_strong:
            self._log.log(self._double.ILogger.ERROR, "Error Code 9: no implementation for node")
            return None
        with self._log.collecting() as told:
            built = self._real.build_serialized_network(network.real, config.real)
        self._double.layers = told.layers
        self._double.plan = bytes(built) if built is not None else b""
        if config.cache is not None:
            config.cache.content += b" timed"
        return built


class _Network:
    def __init__(self, double: Double, real: Any, *, strong: bool) -> None:
        self._double, self.real, self.strong = double, real, strong

    @property
    def num_layers(self) -> int:
        return int(self.real.num_layers)

    def get_layer(self, index: int) -> Any:
        return _Layer(self._double, self.real.get_layer(index))


class _Layer:
    def __init__(self, double: Double, real: Any) -> None:
        self._double, self._real = double, real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def set_output_type(self, index: int, kind: Any) -> None:
        assert index == 0
        assert self._double.calls.bound[self._real.name] == str(kind)

    @property
    def precision(self) -> Any:
        raise NotImplementedError

    @precision.setter
    def precision(self, kind: Any) -> None:
        self._double.calls.bound[self._real.name] = str(kind)


class _Config:
    def __init__(self, double: Double, real: Any) -> None:
        object.__setattr__(self, "_double", double)
        object.__setattr__(self, "real", real)
        object.__setattr__(self, "cache", None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "hardware_compatibility_level":
            self._double.calls.hardware.append(value)
        else:
            setattr(self.real, name, value)

    def set_flag(self, flag: str) -> None:
        self._double.calls.flags.append(flag)

    def clear_flag(self, flag: Any) -> None:
        self.real.clear_flag(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._double.calls.workspace.append(size)
        self.real.set_memory_pool_limit(pool, size)

    def create_timing_cache(self, content: bytes) -> Any:
        self._double.calls.caches.append(content)
        return Cache(content) if not content or content.startswith(b"cache") else None

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        object.__setattr__(self, "cache", cache)
        return cache is not None

    def get_timing_cache(self) -> Any:
        return self.cache


class Cache:
    """A timing cache; begins with a word, by which a damaged one is known."""

    def __init__(self, content: bytes) -> None:
        self.content = content or b"cache"

    def serialize(self) -> bytes:
        return self.content


class _Runtime:
    def __init__(self, double: Double) -> None:
        self._double = double
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        self._double.calls.inspected.append(plan)
        self._double.calls.host_code.append(self.engine_host_code_allowed)
        return self if plan == self._double.plan else None

    def create_engine_inspector(self) -> Any:
        return self

    def get_engine_information(self, form: Any) -> str:
        assert form == self._double.LayerInformationFormat.JSON
        entries = []
        for layer in layers_from_log(self._double.layers):
            entry = {
                "Name": layer.name,
                "LayerType": layer.kind,
                "Inputs": [{"Format/Datatype": WORDS.get(kind, kind)} for kind in layer.inputs],
                "Outputs": [{"Format/Datatype": WORDS.get(kind, kind)} for kind in layer.outputs],
                "TacticName": re.sub(r"\W", "", layer.tactic) or "sm80_xmma",
                "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in layer.nodes),
            }
            if self._double.spoil is not None:
                self._double.spoil(entry)
            entries.append(entry)
        return json.dumps({"Layers": entries, "Bindings": []})
