"""The options of `edge doctor --prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge.fields import OptionsModel, Positive, option


class ProofOptions(OptionsModel):
    """What `edge doctor` examines, and for how long."""

    prove: bool = option(
        False, "Compile, run and time on the GPU, and print what is proven: minutes."
    )
    engine: Literal["auto", "tensorrt", "tensorrt-rtx"] = option(
        "auto", "TensorRT that --prove tries; auto takes the first that works here."
    )
    seconds: Positive = option(60, "How long --prove watches two cameras.")
    output: Path | None = option(None, "File that --prove writes its JSON to, beside the table.")
