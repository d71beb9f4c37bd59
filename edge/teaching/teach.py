"""`edge teach`: parts that were marked good become part of what an inspector knows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from calibrate.dataset import list_names
from calibrate.images import Skipped, fit_image, usable_images
from calibrate.likeness.clusters import Clusters
from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.sketches import sketch_of
from calibrate.protoad.graph import smoothing_matrix
from calibrate.protoad.prototypes import Vectors
from calibrate.protoad.taught_head import (
    NotTeachableError,
    TaughtPatches,
    add_prototypes,
    choose_prototypes,
    distances_with,
    read_patches,
)
from calibrate.threshold import Threshold, raise_above_learnt, reaches, threshold_from_scores
from cameras.image_files import image_from_bytes, image_from_file, taking_bits
from cameras.redaction import printable_path
from edge.inspection.held_out import scores_of_record, threshold_record
from edge.inspection.inspector import Inspector
from edge.inspection.map_score import as_float32, score_from_map
from edge.inspection.settings import settings_from_bundle
from edge.options import BuildOptions
from edge.teaching.effect import CorrectionEffect, compare_inspectors
from edge.teaching.marked_parts import MarkedParts, TeachError
from engines.bundle import MODEL, Bundle, write_bundle
from engines.choose import choose_engine, open_engine
from engines.engine import EngineOptions
from engines.manifest import DIGITS, MAX_LEARNT, GoldenImage, ImageCounts, Manifest
from engines.threshold_records import MAX_KEPT, HeldOutRecord
from engines.versions import Version, keep_version
from process.plain_files import sha256_of

USUAL = 0.99  # of the patches of a good golden image, whose distance is what is usual
CLOSER = 0.7
FAR = 2.0  # times the way from the usual score to the threshold, above it
HOW = "taught"
MAX_NOTES = 20
REPORT = "report.html"


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """A corrected inspector that is not in service yet.

    Attributes:
        bundle: the one that is at work.
        manifest: of the new one.
        model: its graph.
        files: all else that it holds.
        learnt: pictures that it has learnt from.
        known: those that the one at work had learnt from already.
        skipped: pictures that could not be used.
        different: things that the learnt pictures show.
        prototypes: that were added.
        threshold: as it was found anew; None where it stays, for it was set by hand.
        effect: what it changes.
    """

    bundle: Bundle
    manifest: Manifest
    model: bytes
    files: dict[str, bytes]
    learnt: tuple[Path, ...]
    known: tuple[Path, ...]
    skipped: tuple[Skipped, ...]
    different: int
    prototypes: int
    threshold: Threshold | None
    effect: CorrectionEffect

    def problems(self) -> list[str]:
        """Why nobody should put it in service without looking; empty if nothing speaks against.

        False rejects lie near the threshold; a part far above it may well be a defective one.
        """
        manifest = self.bundle.manifest
        threshold = manifest.threshold.value
        usual = float(np.median(scores_of_record(manifest.held_out))) if manifest.held_out else 0.0
        limit = threshold + FAR * (threshold - usual)
        taught = {printable_path(path.name) for path in self.learnt}
        far = [
            f"{one.name} ({one.before[1]:.4f})"
            for one in self.effect.parts
            if one.kind == "good" and one.name in taught and (one.before[1] or 0.0) > limit
        ]
        line = f"far above the threshold of {threshold:.4f}, and taught as good: {list_names(far)}"
        return [*self.effect.problems(), *([line] if far else [])]

    def to_json(self) -> dict[str, Any]:
        """In JSON types."""
        return {
            "bundle": str(self.bundle.path),
            "learnt": len(self.learnt),
            "known": len(self.known),
            "different": self.different,
            "skipped": {str(one.path): one.reason for one in self.skipped},
            "prototypes_added": self.prototypes,
            "threshold_before": self.bundle.manifest.threshold.value,
            "threshold_after": self.manifest.threshold.value,
            "problems": self.problems(),
            "parts": self.effect.to_json(),
        }


def correct(bundle: Bundle, marked: MarkedParts, *, engine: str) -> Correction:
    """Teach an inspector the marked good parts, and compare it with what it was.

    Patches of these parts that are farther from good than is usual become further prototypes. The
    threshold is found anew from the held-out scores that the bundle keeps and those of the new
    parts, each scored without what it teaches itself; further shots of one part count once. A
    threshold that was set by hand stays. Nothing is written.

    Args:
        bundle: at work.
        marked: parts; the defective ones are judged, and not learnt from.
        engine: by which both are judged.

    Raises:
        TeachError: it is an inspector that cannot be taught, or there is nothing new to learn.
        ImageError, EngineError, BundleError: as their modules say.
    """
    manifest = bundle.manifest
    if manifest.model != "protoad" or manifest.held_out is None:
        why = "PRN learns by training" if manifest.model == "prn" else "an older version built it"
        raise TeachError(f"{bundle.path}: {why}; build it again, with these parts among the good")
    with taking_bits(manifest.bit_depth):
        new, known, skipped = _new_parts(manifest, marked.good)
        if not new:
            raise TeachError(
                f"nothing to learn: {len(known)} of the pictures were learnt before, "
                f"{len(skipped)} cannot be used, and defective ones are not learnt from"
            )
        with Inspector(bundle, settings=settings_from_bundle(bundle), engine=engine) as before:
            return _correct(before, marked, new, known=known, skipped=skipped, engine=engine)


def put_in_service(correction: Correction) -> tuple[Bundle, Version]:
    """Let a correction take the place of the inspector at work, which is kept as a version.

    A stream that runs takes it between two parts.

    Raises:
        TeachError: the bundle was changed meanwhile.
        BundleError: the disk refuses; the bundle is as before.
    """
    path = correction.bundle.path
    now = Bundle.open(path)
    if now.manifest != correction.bundle.manifest:
        raise TeachError(f"{path}: somebody changed it meanwhile; teach again")
    version = keep_version(now)
    return _write(correction, path), version


def _correct(
    before: Inspector,
    marked: MarkedParts,
    new: Sequence[Path],
    *,
    known: Sequence[Path],
    skipped: Sequence[Skipped],
    engine: str,
) -> Correction:
    bundle, manifest = before.bundle, before.bundle.manifest
    model = onnx.load_model_from_string(bundle.model())
    fitted = [_fitted(path, manifest) for path in new]
    clusters = clusters_of_sketches([sketch_of(image) for image in fitted])
    try:
        parts = list(read_patches(model, fitted))
        usual = _usual_distance(model, bundle)
    except NotTeachableError as error:
        raise TeachError(f"{bundle.path}: {error}; build it again") from error
    near, prototypes = _prototypes(parts, manifest, usual=usual)
    taught = add_prototypes(model, prototypes) if len(prototypes) else bundle.model()
    scores = _scores_by(taught, engine, [*fitted, *_golden_images(bundle)], manifest=manifest)
    found = _record(
        manifest,
        held_out=_held_out_scores(parts, clusters, manifest=manifest, near=near),
        learnt=_highest(scores[: len(new)], clusters),
    )
    threshold = None if manifest.threshold.method == "manual" else _threshold(manifest, found)
    after = _manifest(manifest, new, threshold, found)
    after = after.model_copy(
        update={
            "prototypes": manifest.prototypes + len(prototypes),
            "golden": _scored(manifest.golden, scores[len(new) :]),
            "images": _counts(manifest.images, len(new), clusters.count),
        }
    )
    files = {name: bundle.read(name) for name in manifest.files if name not in (MODEL, REPORT)}
    draft = Correction(
        bundle=bundle,
        manifest=after,
        model=taught,
        files=files,
        learnt=tuple(new),
        known=tuple(known),
        skipped=tuple(skipped),
        different=clusters.count,
        prototypes=len(prototypes),
        threshold=threshold,
        effect=CorrectionEffect(()),
    )
    return replace(draft, effect=_compare(before, draft, marked, engine=engine))


def _compare(
    before: Inspector, draft: Correction, marked: MarkedParts, *, engine: str
) -> CorrectionEffect:
    """Judge by both; the new one is opened from a bundle of its own, as it will be in service."""
    with tempfile.TemporaryDirectory(prefix="edge-teach-") as folder:
        bundle = _write(draft, Path(folder) / draft.bundle.path.name)
        settings = settings_from_bundle(bundle)
        with Inspector(bundle, settings=settings, engine=engine) as after:
            return compare_inspectors(before, after, marked)


def _write(correction: Correction, path: Path) -> Bundle:
    files: dict[str, bytes | Path] = {**correction.files, MODEL: correction.model}
    return write_bundle(path, manifest=correction.manifest, files=files)


def _new_parts(
    manifest: Manifest, good: Sequence[Path]
) -> tuple[list[Path], list[Path], tuple[Skipped, ...]]:
    """Good parts that were not learnt before, those that were, and those that cannot be used."""
    if not good:
        return [], [], ()
    usable, skipped = usable_images(good, size=manifest.size, roi=_roi(manifest))
    known = [path for path in usable if sha256_of(path)[:DIGITS] in manifest.learnt_files]
    return [path for path in usable if path not in known], known, skipped


def _roi(manifest: Manifest) -> tuple[int, int, int, int] | None:
    return manifest.roi.box if manifest.roi else None


def _fitted(path: Path, manifest: Manifest) -> npt.NDArray[np.uint8]:
    return fit_image(image_from_file(path), manifest.size, _roi(manifest))


def _golden_images(bundle: Bundle) -> list[npt.NDArray[np.uint8]]:
    files = [record.file for record in bundle.manifest.golden]
    return [fit_image(image_from_bytes(bundle.read(name)), bundle.manifest.size) for name in files]


def _usual_distance(model: onnx.ModelProto, bundle: Bundle) -> float:
    """How far most patches of a good golden image are from their prototypes."""
    good = [
        image
        for image, record in zip(_golden_images(bundle), bundle.manifest.golden, strict=True)
        if record.kind == "good"
    ]
    if not good:
        raise TeachError(f"{bundle.path}: it has no good golden image; build it again")
    return max(float(np.quantile(one.distances, USUAL)) for one in read_patches(model, good))


def _prototypes(
    parts: Sequence[TaughtPatches], manifest: Manifest, *, usual: float
) -> tuple[float, Vectors]:
    """As few prototypes as bring the parts below the threshold, and how near patches are then.

    Patches that are nearer than half of what makes a region say nothing new. Where parts are
    rejected nevertheless, for many middling values, nearer ones are taken in too, down to what is
    usual.
    """
    near = max(usual, (manifest.pixel_threshold or manifest.threshold.value) / 2)
    while True:
        prototypes = choose_prototypes(parts, near=near)
        scores = [_score(part, prototypes, manifest) for part in parts]
        if near <= usual or not any(reaches(score, manifest.threshold.value) for score in scores):
            return near, prototypes
        near = max(usual, CLOSER * near)


def _scores_by(
    model: bytes, engine: str, images: Sequence[npt.NDArray[np.uint8]], *, manifest: Manifest
) -> npt.NDArray[np.float32]:
    """Scores of images of the model's size, by the engine that will judge."""
    chosen = choose_engine(engine).name
    options = EngineOptions(manifest.precision)
    with open_engine(model, engine=chosen, options=options) as opened:
        return np.array([opened.infer(image[None])[1][0] for image in images], np.float32)


def _held_out_scores(
    parts: Sequence[TaughtPatches], clusters: Clusters, *, manifest: Manifest, near: float
) -> npt.NDArray[np.float32]:
    """Of each thing that the parts show, the score without what it teaches itself."""
    scores = np.empty(len(parts), np.float32)
    for label in range(clusters.count):
        own = clusters.labels == label
        others = [part for part, is_own in zip(parts, own, strict=True) if not is_own]
        prototypes = choose_prototypes(others, near=near)
        for index in np.flatnonzero(own).tolist():
            scores[index] = _score(parts[index], prototypes, manifest)
    return _highest(scores, clusters)


def _highest(scores: npt.NDArray[np.float32], clusters: Clusters) -> npt.NDArray[np.float32]:
    """(count,) of each thing that is shown, the highest score."""
    return scores[clusters.highest(scores)]


def _score(part: TaughtPatches, prototypes: Vectors, manifest: Manifest) -> float:
    """As the graph computes it (`calibrate/protoad/graph.py`)."""
    distances = distances_with(part, prototypes)
    if manifest.score_kind == "raw":
        return float(distances.max())
    height, width = manifest.size
    rows, columns = smoothing_matrix(part.shape[0], height), smoothing_matrix(part.shape[1], width)
    anomaly_map = np.asarray(rows @ distances.reshape(part.shape) @ columns.T, np.float32)
    return score_from_map(anomaly_map, manifest.score_rule)


def _record(
    manifest: Manifest, *, held_out: npt.NDArray[np.float32], learnt: npt.NDArray[np.float32]
) -> HeldOutRecord:
    """The scores of all parts together: those of the build, and the new ones."""
    before = manifest.held_out
    assert before is not None
    return before.model_copy(
        update={
            "images": before.images + len(held_out),
            "highest": _merged(before.highest, before.images, held_out),
            "learnt_images": before.learnt_images + len(learnt),
            "learnt": _merged(before.learnt, before.learnt_images, learnt),
        }
    )


def _merged(
    kept: Sequence[float], images: int, added: npt.NDArray[np.float32]
) -> tuple[float, ...]:
    """The highest of all; those that were not kept lie below the lowest that was."""
    least = kept[-1] if len(kept) < images else -np.inf
    ranked = sorted([*kept, *(float(str(one)) for one in added if one >= least)], reverse=True)
    return tuple(ranked[: min(MAX_KEPT, len(kept) if least > -np.inf else MAX_KEPT)])


def _threshold(manifest: Manifest, record: HeldOutRecord) -> Threshold:
    """The threshold by the build's rule, as far from it as the build's own was moved."""
    assert manifest.held_out is not None
    rate = manifest.threshold.false_rejects_asked or BuildOptions().false_rejects
    extrapolate = manifest.threshold.method.endswith("tail")
    ruled = [
        _by_rule(one, rate=rate, extrapolate=extrapolate) for one in (manifest.held_out, record)
    ]
    moved = manifest.threshold.value - ruled[0].value
    return replace(ruled[1], value=as_float32(ruled[1].value + moved))


def _by_rule(record: HeldOutRecord, *, rate: float, extrapolate: bool) -> Threshold:
    scores = scores_of_record(record)
    found = threshold_from_scores(
        scores, false_rejects=rate, probabilities=record.probabilities, extrapolate=extrapolate
    )
    learnt = np.asarray(record.learnt, np.float32)
    return raise_above_learnt(
        found, scores=scores, learnt=learnt, probabilities=record.probabilities
    )


def _manifest(
    manifest: Manifest, new: Sequence[Path], threshold: Threshold | None, record: HeldOutRecord
) -> Manifest:
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
        "learnt_images": digests if len(digests) <= MAX_LEARNT else (),
        "notes": (*manifest.notes, note)[-MAX_NOTES:],
    }
    if threshold is not None:
        changed["threshold"] = threshold_record(threshold, how=HOW)
    return manifest.model_copy(update=changed)


def _scored(
    golden: Sequence[GoldenImage], scores: npt.NDArray[np.float32]
) -> tuple[GoldenImage, ...]:
    return tuple(
        record.model_copy(update={"score": float(score)})
        for record, score in zip(golden, scores, strict=True)
    )


def _counts(before: ImageCounts, learnt: int, different: int) -> ImageCounts:
    more = None if before.different is None else before.different + different
    return before.model_copy(update={"used": before.used + learnt, "different": more})
