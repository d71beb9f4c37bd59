"""The options of `edge compile`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge.fields import Count, Names, OptionsModel, Positive, option
from engines.manifest import MAX_BATCH


class CompileOptions(OptionsModel):
    """Which plans to compile: `edge compile`."""

    engine: Literal["auto", "tensorrt", "tensorrt-rtx"] = option(
        "auto", "Compiler: auto takes TensorRT where it works and no GPU is named, else RTX."
    )
    gpu: Names = option(
        (),
        "GPUs to compile TensorRT-RTX plans for, such as sm86,sm89.",
        unset="the GPU that is here, or one portable plan with TensorRT-RTX",
    )
    device: Count | None = option(
        None,
        "Number of the GPU that TensorRT compiles on and for, as `edge doctor` lists them.",
        unset="the first one",
        example=0,
    )
    max_batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] | None = option(
        None,
        "Images of several cameras that the plan takes at once, at most.",
        unset="as many as the bundle was built for",
        example=8,
    )
    workspace: Positive | None = option(
        None,
        "MiB of scratch memory that a kernel may use.",
        unset="TensorRT's own; on a Jetson half of what is free",
    )
    optimization_level: Annotated[int, Field(ge=0, le=5)] | None = option(
        None,
        "How long the builder searches for quick kernels, 0 to 5.",
        unset="TensorRT's own",
    )
    dla: Count | None = option(
        None,
        "Core of a Jetson Orin's DLA that takes the layers it can.",
        unset="the GPU takes all",
    )
    version_compatible: bool = option(
        False, "Let newer TensorRT libraries of the same major version load the plan."
    )
    hardware_compatible: bool = option(
        False, "Let any GPU of Ampere's generation or later load TensorRT's plan."
    )
