"""What a corrected bundle says of itself: its scores, threshold, counts and golden images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibrate.learnt import FileScores
from calibrate.threshold import Threshold
from edge.inspection.held_out import (
    RateOfRejects,
    image_names,
    threshold_of_record,
    threshold_record,
)
from edge.inspection.map_score import as_float32
from edge.options import BuildOptions
from engines.history import events_of, merge_events
from engines.manifest import DIGITS, MAX_LEARNT, GoldenImage, ImageCounts, Manifest
from engines.threshold_records import MAX_KEPT, HeldOutRecord
from process.plain_files import sha256_of

HOW = "taught"
MAX_NOTES = 20


def merge_scores(
    manifest: Manifest, *, held_out: FileScores | None, learnt: npt.NDArray[np.float32]
) -> HeldOutRecord:
    """The scores of all parts together: those of the build, and the new ones.

    Args:
        manifest: of the bundle at work.
        held_out: of the new parts, without what they teach; None where the threshold need not
            follow them.
        learnt: likewise, with what they teach.
    """
    before = manifest.held_out
    assert before is not None
    changed: dict[str, object] = {
        "learnt_images": before.learnt_images + len(learnt),
        "learnt": _merged(before.learnt, before.learnt_images, learnt),
    }
    if held_out is not None:
        highest = _merged(before.highest, before.images, held_out.values)
        changed |= {
            "images": before.images + len(held_out.values),
            "highest": highest,
            "files": _merged_names(before, held_out)[: len(highest)],
        }
    return before.model_copy(update=changed)


def _merged(
    kept: Sequence[float], images: int, added: npt.NDArray[np.float32]
) -> tuple[float, ...]:
    """The highest of all; those that were not kept lie below the lowest that was."""
    least = kept[-1] if len(kept) < images else -np.inf
    ranked = sorted([*kept, *(float(str(one)) for one in added if one >= least)], reverse=True)
    return tuple(ranked[: min(MAX_KEPT, len(kept) if least > -np.inf else MAX_KEPT)])


def _merged_names(before: HeldOutRecord, added: FileScores) -> tuple[str, ...]:
    """Whose scores they are, in the same order; none where an older bundle does not say it."""
    if not before.files:
        return ()
    new = zip(added.values.tolist(), image_names(added.files), strict=True)
    named = [*zip(before.highest, before.files, strict=True), *new]
    return tuple(name for _, name in sorted(named, key=lambda pair: -np.float32(pair[0])))


def find_threshold(manifest: Manifest, record: HeldOutRecord) -> Threshold:
    """The threshold by the build's rule, as far from it as the build's own was moved."""
    assert manifest.held_out is not None
    asked = RateOfRejects(
        manifest.threshold.false_rejects_asked or BuildOptions().false_rejects,
        extrapolate=manifest.threshold.method.endswith("tail"),
    )
    before, after = (threshold_of_record(one, asked) for one in (manifest.held_out, record))
    moved = manifest.threshold.value - before.value
    return replace(after, value=as_float32(after.value + moved))


def correct_manifest(
    manifest: Manifest, new: Sequence[Path], threshold: Threshold | None, record: HeldOutRecord
) -> Manifest:
    """What the bundle says of itself once it has learnt new parts.

    Args:
        manifest: of the bundle at work.
        new: pictures of the parts.
        threshold: found anew; None leaves it as it is.
        record: the scores of all parts.
    """
    digests = (*manifest.learnt_images, *(sha256_of(path)[:DIGITS] for path in new))
    now = datetime.now(timezone.utc)
    note = (
        f"{len(new)} good parts were taught on {now:%Y-%m-%d}; figures, drawn defects and parity "
        "are those of the build before"
    )
    changed = {
        "created": now,
        "operating_points": (),
        "held_out": record,
        "history": merge_events(events_of(manifest)),  # it is not built today
        "learnt_images": digests if len(digests) <= MAX_LEARNT else (),
        "notes": (*manifest.notes, note)[-MAX_NOTES:],
    }
    if threshold is not None:
        changed["threshold"] = threshold_record(threshold, how=HOW)
    return manifest.model_copy(update=changed)


def score_golden(
    golden: Sequence[GoldenImage], scores: npt.NDArray[np.float32]
) -> tuple[GoldenImage, ...]:
    """The golden images with the scores that the corrected inspector gives them."""
    return tuple(
        record.model_copy(update={"score": float(score)})
        for record, score in zip(golden, scores, strict=True)
    )


def count_images(before: ImageCounts, learnt: int, different: int) -> ImageCounts:
    """The counts with so many further images, which show so many different things."""
    more = None if before.different is None else before.different + different
    return before.model_copy(update={"used": before.used + learnt, "different": more})
