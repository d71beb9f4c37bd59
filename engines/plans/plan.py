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


class CompileSettings(BaseModel):
    """What the builder is asked for besides the graph and the GPU; a plan's sidecar keeps it.

    Attributes:
        compatible: what else than the very same library and GPU may load the plan; costs speed,
            and is for TensorRT alone.
        workspace_mib: most scratch memory that a kernel may take; None leaves TensorRT's default,
            but on a Jetson half of the memory that is free.
        optimization_level: how long the builder searches, 0 to 5; None leaves it to TensorRT.
        dla: core of a Jetson Orin's DLA that takes what it can; None leaves all to the GPU.
        batch: images that the plan takes at once, at most; None is one, with which it is quickest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compatible: tuple[Compatible, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    dla: int | None = None
    batch: int | None = Field(default=None, ge=2)

    @property
    def images(self) -> int:
        """How many images the plan takes at once, at most."""
        return self.batch or 1

    def with_images(self, most: int) -> CompileSettings:
        """The same for a plan that takes so many images at once, at most."""
        return self.model_copy(update={"batch": most if most > 1 else None})


class PlanFacts(CompileSettings):
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
        notes: what a reader must know, such as why it is weakly typed.
    """

    flavour: str
    version: str
    gpu: tuple[str, ...]
    device: str = ""
    driver: str = ""
    onnx_sha256: str
    layers: tuple[Layer, ...] = Field(repr=False)
    typing: Typing = "strong"
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> CompileSettings:
        """With which it was compiled."""
        return CompileSettings(**self.model_dump(include=set(CompileSettings.model_fields)))


class Plan(PlanFacts):
    """A compiled graph.

    Attributes:
        plan: what the runtime deserialises; native code.
    """

    plan: bytes = Field(repr=False)
