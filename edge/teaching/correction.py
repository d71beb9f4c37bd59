"""A corrected inspector, until it is in service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibrate.dataset import list_names
from calibrate.images import Skipped
from calibrate.threshold import Threshold
from cameras.redaction import printable_path
from edge.inspection.held_out import scores_of_record
from edge.teaching.effect import CorrectionEffect, PartSample, VerdictAndScore
from edge.teaching.proposal import Accepted
from engines.bundle import MODEL, Bundle, write_bundle
from engines.history_record import HistoryRecord
from engines.manifest import Manifest
from engines.versions import now, take_place

FAR = 2.0  # times the way from the usual score to the threshold, above it
FAR_ABOVE = "far above the threshold, as defective parts are"
COSTLY = "it shows what a defect shows that would pass then"


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A corrected inspector that is not in service yet.

    Attributes:
        bundle: the one that is at work.
        manifest: of the new one.
        model: its graph.
        files: all else that it holds.
        learnt: pictures that it has learnt from.
        left_out: those that it has not, and why.
        known: those that the one at work had learnt from already.
        skipped: pictures that could not be used.
        different: things that the learnt pictures show.
        prototypes: that were added.
        threshold: as it was found anew; None where it stays.
        effect: what it changes.
    """

    bundle: Bundle
    manifest: Manifest
    model: bytes
    files: dict[str, bytes]
    learnt: tuple[Path, ...]
    left_out: Mapping[Path, str]
    known: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    different: int
    prototypes: int
    threshold: Threshold | None
    effect: CorrectionEffect

    def problems(self) -> list[str]:
        """Why nobody should put it in service without looking; empty if nothing speaks against."""
        judged = [(one.sample, one.before) for one in self.effect.parts]
        far = far_above(judged, self.learnt, self.bundle.manifest)
        return [*self.effect.problems(), *([_describe(FAR_ABOVE, far)] if far else [])]

    def put_in_service(self, *, by: str) -> Accepted:
        """Let it take the place of the inspector at work, which is kept as a version.

        Raises:
            BundleError: somebody changed the bundle meanwhile, or the disk refuses; it is as
                before.
        """
        event = HistoryRecord(
            when=now(),
            by=by,
            what="taught",
            detail=f"{len(self.learnt)} good parts, {self.prototypes} prototypes",
        )
        files = self.content()
        return Accepted(*take_place(self.bundle, manifest=self.manifest, files=files, event=event))

    def content(self) -> dict[str, bytes | Path]:
        """All that it holds beside the manifest."""
        return {**self.files, MODEL: self.model}

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "bundle": str(self.bundle.path),
            "learnt": len(self.learnt),
            "left_out": {str(path): why for path, why in self.left_out.items()},
            "known": len(self.known),
            "different": self.different,
            "skipped": {str(one.path): one.reason for one in self.skipped},
            "prototypes_added": self.prototypes,
            "threshold_before": self.bundle.manifest.threshold.value,
            "threshold_after": self.manifest.threshold.value,
            "problems": self.problems(),
            "parts": self.effect.to_json(),
        }


def far_above(
    judged: Iterable[tuple[PartSample, VerdictAndScore]], files: Iterable[Path], manifest: Manifest
) -> list[Path]:
    """Parts that are taught as good and score far above the threshold.

    False rejects lie near the threshold; a part far above it may well be a defective one.
    """
    threshold = manifest.threshold.value
    usual = float(np.median(scores_of_record(manifest.held_out))) if manifest.held_out else 0.0
    limit = threshold + FAR * (threshold - usual)
    scores = {sample.picture: score or 0.0 for sample, (_, score) in judged if sample.is_marked}
    return [path for path in files if scores.get(path, 0.0) > limit]


def describe_left_out(left_out: Mapping[Path, str]) -> str:
    """Parts that are not taught, by reason."""
    by_reason = {
        why: [path for path in left_out if left_out[path] == why] for why in left_out.values()
    }
    return "; ".join(_describe(why, paths) for why, paths in by_reason.items())


def _describe(why: str, files: Iterable[Path]) -> str:
    return f"{why}: {list_names([printable_path(path.name) for path in files])}"


def write_correction(correction: Correction, path: Path) -> Bundle:
    """Write a correction as a bundle of its own.

    Raises:
        BundleError: the disk refuses.
    """
    return write_bundle(path, manifest=correction.manifest, files=correction.content())
