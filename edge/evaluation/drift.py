"""Which layer of a bundle's graph goes wrong first on this machine, held against float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.precision.layer_drift import LayerDrift, measure_layer_drift
from calibrate.precision.parity import REFERENCE
from edge.inspection.self_test import GoldenImages
from engines.bundle import Bundle
from engines.choose import AUTO, choose_engine, open_engine
from engines.engine import Engine, EngineOptions, Precision
from engines.plans.flavours import MODULES

TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.05, "int8": 0.25}
"""Of a layer's norm; why these, says docs/precision.md."""
BF16_TOLERANCE = 0.25
"""For an engine that computes in bfloat16, whatever the graph says."""


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was compared, and where it differs.

    Attributes:
        engine: that ran the bundle's graph.
        executes: in which arithmetic.
        precision: of the graph.
        tolerance: beyond which a layer counts as wrong.
        layers: in the graph's order.
    """

    engine: str
    executes: str
    precision: Precision
    tolerance: float
    layers: tuple[LayerDrift, ...]

    @property
    def first(self) -> LayerDrift | None:
        """The first layer beyond the tolerance."""
        return next((each for each in self.layers if each.exceeds(self.tolerance)), None)

    @property
    def worst(self) -> LayerDrift:
        """The layer that is off most; one that gives no number before all others."""
        return max(self.layers, key=lambda each: np.inf if each.error is None else each.error)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "engine": self.engine,
            "executes": self.executes,
            "precision": self.precision,
            "tolerance": self.tolerance,
            "first": self.first.name if self.first else None,
            "worst": self.worst.name,
            "layers": [each.to_json() for each in self.layers],
        }


def find_drift(path: Path, *, engine: str = AUTO) -> DriftReport:
    """Run a bundle's golden images through its graph, and through the same in fp32.

    Args:
        path: the bundle's folder.
        engine: that inspects; ``auto`` takes the one that `edge stream` would.

    Raises:
        BundleError: it is missing or damaged.
        EngineError: the engine doesn't take the graph with each layer's output asked for.
    """
    bundle = Bundle.open(path)
    golden, precision = GoldenImages(bundle), bundle.manifest.precision
    name, executed = choose_engine(engine).name, ""

    def open_here(model: bytes) -> Engine:
        nonlocal executed
        opened = open_engine(model, engine=name, options=EngineOptions(precision=precision))
        executed = opened.executes
        return opened

    layers = measure_layer_drift(
        bundle.model(),
        np.stack([golden.read(each.file) for each in bundle.manifest.golden]),
        open_engine=open_here,
        open_reference=lambda model: open_engine(
            model, engine=REFERENCE, options=EngineOptions(precision="fp32")
        ),
        in_plan=name in MODULES,
    )
    tolerance = max(TOLERANCES[precision], BF16_TOLERANCE if "bf16" in executed else 0.0)
    return DriftReport(name, executed, precision, tolerance, layers)
