"""The half of the fake TensorRT that compiles: TensorRT-RTX behind the face of another version."""

from __future__ import annotations

import json
import re
from typing import Any

from engines.plans.layers import layers_from_log

OF_TENSORRT_ALONE = ("default_device_type", "DLA_core", "builder_optimization_level")
WORDS = {"fp32": "Float", "fp16": "Half", "int8": "Int8", "uint8": "UInt8"}


class Inspector:
    """A plan that was compiled here; it cannot be run, and says what its layers are."""

    def __init__(self, trt: Any) -> None:
        self.trt = trt

    def create_engine_inspector(self) -> Inspector:
        return self

    def get_engine_information(self, form: Any) -> str:
        assert form == self.trt.LayerInformationFormat.JSON
        entries = []
        for layer in layers_from_log(self.trt.layers):
            entry = {
                "Name": layer.name,
                "LayerType": layer.kind,
                "Inputs": [{"Format/Datatype": WORDS.get(kind, kind)} for kind in layer.inputs],
                "Outputs": [{"Format/Datatype": WORDS.get(kind, kind)} for kind in layer.outputs],
                "TacticName": re.sub(r"\W", "", layer.tactic) or "sm80_xmma",
                "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in layer.nodes),
            }
            if self.trt.spoil is not None:
                self.trt.spoil(entry)
            entries.append(entry)
        return json.dumps({"Layers": entries, "Bindings": []})


class Builder:
    def __init__(self, trt: Any, log: Any) -> None:
        self.trt, self._log = trt, log
        self._real = trt.compiler.Builder(log)
        self.num_DLA_cores = trt.dla_cores

    def create_network(self, flags: int) -> Any:
        strong = 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self.trt.calls.strong.append(flags == strong)
        return Network(self.trt, self._real.create_network(strong), strong=flags == strong)

    def create_builder_config(self) -> Any:
        return BuilderConfig(self.trt, self._real.create_builder_config())

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        if network.strong and self.trt.refuses_strong:
            self._log.log(self.trt.ILogger.ERROR, "Error Code 9: no implementation for node")
            return None
        with self._log.collect() as told:
            built = self._real.build_serialized_network(network.real, config.real)
        self.trt.layers = told.layers
        self.trt.built = bytes(built) if built is not None else b""
        if config.cache is not None:
            config.cache.content += b" timed"
        return built


class Network:
    def __init__(self, trt: Any, real: Any, *, strong: bool) -> None:
        self.trt, self.real, self.strong = trt, real, strong

    @property
    def num_layers(self) -> int:
        return int(self.real.num_layers)

    def get_layer(self, index: int) -> Any:
        return BoundLayer(self.trt, self.real.get_layer(index))


class BoundLayer:
    def __init__(self, trt: Any, real: Any) -> None:
        self._calls, self._real = trt.calls, real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def set_output_type(self, index: int, kind: Any) -> None:
        assert index == 0
        assert self._calls.bound[self._real.name] == str(kind)

    @property
    def precision(self) -> Any:
        raise NotImplementedError

    @precision.setter
    def precision(self, kind: Any) -> None:
        self._calls.bound[self._real.name] = str(kind)


class BuilderConfig:
    def __init__(self, trt: Any, real: Any) -> None:
        for name, value in (("trt", trt), ("calls", trt.calls), ("real", real), ("cache", None)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "hardware_compatibility_level":
            self.calls.hardware.append(value)
        elif name in OF_TENSORRT_ALONE:
            self.calls.set[name] = value
        else:
            setattr(self.real, name, value)

    def set_flag(self, flag: str) -> None:
        self.calls.flags.append(flag)

    def can_run_on_DLA(self, layer: Any) -> bool:  # noqa: N802 - TensorRT's name
        kinds = self.trt.compiler
        half = layer.get_output(0).dtype == kinds.float16
        return bool(half and layer.type == kinds.LayerType.CONVOLUTION)

    def clear_flag(self, flag: Any) -> None:
        self.real.clear_flag(flag)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.calls.workspace.append(size)
        self.real.set_memory_pool_limit(pool, size)

    def create_timing_cache(self, content: bytes) -> Any:
        self.calls.caches.append(content)
        return TimingCache(content) if not content or content.startswith(b"cache") else None

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        object.__setattr__(self, "cache", cache)
        return cache is not None

    def get_timing_cache(self) -> Any:
        return self.cache


class TimingCache:
    """Begins with a word, by which a damaged one is known."""

    def __init__(self, content: bytes) -> None:
        self.content = content or b"cache"

    def serialize(self) -> bytes:
        return self.content
