"""A finished build, for whoever asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from calibrate.images import Skipped
from calibrate.likeness.clusters import Clusters
from calibrate.precision.parity import ParityReport
from calibrate.threshold import Threshold
from cameras.redaction import printable_path
from edge.building.odd_images import OddImage
from edge.evaluation.measure import Measured
from engines.bundle import Bundle
from engines.threshold_records import OperatingPointRecord


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A finished build.

    Attributes:
        bundle: as it was written.
        threshold: and what can be said for it.
        odd: good images that were left out of it, for they look unlike the others.
        rejected: images that are NG although they were learnt from.
        clusters: which of the good images show one thing.
        points: what other thresholds do, the highest first.
        measured: figures on labelled images; None without any.
        skipped: images that could not be used.
        parity: what the precision changed; None where there was nothing to compare.
        engine_reason: which engine, and why not a better one.
        plans: compiled, by name.
        seconds: in all, and by stage.
    """

    bundle: Bundle
    threshold: Threshold
    odd: tuple[OddImage, ...]
    rejected: tuple[OddImage, ...]
    clusters: Clusters
    points: tuple[OperatingPointRecord, ...]
    measured: Measured | None
    skipped: tuple[Skipped, ...]
    parity: ParityReport | None
    engine_reason: str
    plans: tuple[str, ...]
    seconds: float
    stages: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The build's object for machines."""
        manifest = self.bundle.manifest
        drawn = manifest.drawn_defects
        return {
            "bundle": str(self.bundle.path),
            "model": manifest.model,
            "precision": manifest.precision,
            "prototypes": manifest.prototypes,
            "tuning": manifest.tuning.model_dump(mode="json") if manifest.tuning else None,
            "threshold": self.threshold.value,
            "pixel_threshold": manifest.pixel_threshold,
            "false_reject_bound": self.threshold.bound,
            "odd_images": {printable_path(one.path): one.score for one in self.odd},
            "rejected_learnt": {printable_path(one.path): one.score for one in self.rejected},
            "with_odd": self.threshold.with_odd,
            "not_extrapolated": self.threshold.not_extrapolated,
            "raised_from": self.threshold.raised_from,
            "warning": self.threshold.warning,
            "seconds": round(self.seconds, 3),
            "stages": {name: round(value, 3) for name, value in self.stages.items()},
            "engines": [manifest.deployed_engine, *self.plans],
            "engine_reason": self.engine_reason,
            "figures": dict(manifest.figures),
            "operating_points": [one.model_dump() for one in manifest.operating_points],
            "alarm": self.measured.evaluation.alarm if self.measured else "",
            "parity": self.parity.record.model_dump(mode="json") if self.parity else None,
            "drawn_defects": drawn.to_json() if drawn else None,
            "images": manifest.images.used,
            "different_images": self.clusters.count,
            "skipped": {str(item.path): item.reason for item in self.skipped},
        }
