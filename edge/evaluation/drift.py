"""Which layer of a bundle's graph goes wrong first on this machine, held against float32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.precision.layer_drift import LayerDrift, measure_layer_drift
from calibrate.precision.parity import MIN_MARGIN, REFERENCE
from calibrate.threshold import reaches
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
        tolerance: beyond which a layer is far off.
        layers: in the graph's order.
        score_error: how far the golden images' scores move, as a share of the margin below the
            threshold; None where the build compared no precisions.
        score_limit: how far the build let it move them.
        flips: golden images whose verdict differs.
    """

    engine: str
    executes: str
    precision: Precision
    tolerance: float
    layers: tuple[LayerDrift, ...]
    score_error: float | None = None
    score_limit: float = 0.0
    flips: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether the scores move by no more than the build allows, whatever a layer does.

        A map of probabilities near 0, as a network's is, has large errors in proportion and none
        that count: the gate that let the bundle be built judges scores as well.
        """
        if self.score_error is None:
            return not any(each.exceeds(self.tolerance) for each in self.layers)
        numbers = all(each.error is not None for each in self.layers)
        return numbers and not self.flips and self.score_error <= self.score_limit

    @property
    def first(self) -> LayerDrift | None:
        """The first layer beyond the tolerance, in a graph that isn't sound."""
        beyond = (each for each in self.layers if each.exceeds(self.tolerance))
        return None if self.is_sound else next(beyond, None)

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
            "sound": self.is_sound,
            "score_error": self.score_error,
            "score_limit": self.score_limit if self.score_error is not None else None,
            "flips": self.flips,
            "first": self.first.name if self.first else None,
            "worst": self.worst.name,
            "layers": [each.to_json() for each in self.layers],
        }


def find_drift(path: Path, *, engine: str = AUTO) -> DriftReport:
    """Run a bundle's golden images through its graph, and through the same in fp32.

    Args:
        path: the bundle's folder.
        engine: that inspects, as `choose_engine` takes it; ``auto`` is what `edge stream` takes.

    Raises:
        BundleError: it is missing or damaged.
        EngineError: the engine doesn't take the graph with each layer's output asked for.
    """
    bundle = Bundle.open(path)
    golden, precision = GoldenImages(bundle), bundle.manifest.precision
    chosen, executed = choose_engine(engine), ""

    def open_here(model: bytes) -> Engine:
        nonlocal executed
        opened = open_engine(
            model, engine=chosen.address, options=EngineOptions(precision=precision)
        )
        executed = opened.executes
        return opened

    found = measure_layer_drift(
        bundle.model(),
        np.stack([golden.read(each.file) for each in bundle.manifest.golden]),
        open_engine=open_here,
        open_reference=lambda model: open_engine(
            model, engine=REFERENCE, options=EngineOptions(precision="fp32")
        ),
        in_plan=chosen.name in MODULES,
    )
    tolerance = max(TOLERANCES[precision], BF16_TOLERANCE if "bf16" in executed else 0.0)
    report = DriftReport(chosen.name, executed, precision, tolerance, found.layers)
    parity = bundle.manifest.parity
    if parity is None or not found.scores:
        return report
    scores, reference = (np.asarray(each) for each in (found.scores, found.reference))
    good = np.array([each.kind == "good" for each in bundle.manifest.golden])
    error = np.abs(scores - reference)[good] / max(parity.room, MIN_MARGIN)
    flips = reaches(scores, parity.threshold) != reaches(reference, parity.threshold)
    return replace(
        report,
        score_error=float(error.max(initial=0.0)),
        score_limit=parity.limits.score_error,
        flips=int(flips.sum()),
    )
