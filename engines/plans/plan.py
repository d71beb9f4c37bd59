"""A compiled graph and all that is known about it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from engines.errors import EngineError
from engines.plans.layers import Layer

Typing = Literal["strong", "weak"]
Compatible: TypeAlias = Literal["version", "hardware"]
"""A plan that newer libraries of the same major version load, or that other GPUs load."""


class UnloadablePlanError(EngineError):
    """The library refuses a plan whose marks all fit; it has to be compiled again."""


class PlanFacts(BaseModel):
    """What a plan is.

    Attributes:
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        version: of the library that compiled it.
        gpu: compute capabilities it is for; empty means Ampere and newer.
        device: name of the GPU that its kernels were timed on; empty if that doesn't matter.
        driver: CUDA version of the driver then; empty if that doesn't matter.
        onnx_sha256: of the graph.
        layers: what it executes; empty if the library didn't say.
        typing: ``strong``: types are the graph's; ``weak``: TensorRT 10.3's fallback.
        compatible: what else than the very same library and GPU may load it.
        notes: what a reader must know, such as why it is weakly typed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flavour: str
    version: str
    gpu: tuple[str, ...]
    device: str = ""
    driver: str = ""
    onnx_sha256: str
    layers: tuple[Layer, ...] = Field(repr=False)
    typing: Typing = "strong"
    compatible: tuple[Compatible, ...] = ()
    notes: tuple[str, ...] = ()


class Plan(PlanFacts):
    """A compiled graph.

    Attributes:
        plan: what the runtime deserialises; native code.
    """

    plan: bytes = Field(repr=False)
