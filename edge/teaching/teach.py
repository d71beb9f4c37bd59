"""`edge teach`: parts that were marked good become part of what an inspector knows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibrate.images import Skipped, fit_image, usable_images
from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.sketches import sketch_of
from calibrate.protoad.taught_head import (
    NotTeachableError,
    add_prototypes,
    read_patches,
)
from cameras.image_files import image_from_bytes, image_from_file, taking_bits
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_from_bundle
from edge.teaching.correction import Correction, write_correction
from edge.teaching.effect import CorrectionEffect, compare_inspectors
from edge.teaching.marked_parts import MarkedParts, TeachError
from edge.teaching.new_scores import find_prototypes, highest_of_clusters, score_held_out
from edge.teaching.records import (
    correct_manifest,
    count_images,
    find_threshold,
    merge_scores,
    score_golden,
)
from engines.bundle import MODEL, Bundle
from engines.choose import choose_engine, open_engine
from engines.engine import EngineOptions
from engines.manifest import DIGITS, Manifest
from process.plain_files import sha256_of

USUAL = 0.99  # of the patches of a good golden image, whose distance is what is usual
REPORT = "report.html"


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
    near, prototypes = find_prototypes(parts, manifest, usual=usual)
    taught = add_prototypes(model, prototypes) if len(prototypes) else bundle.model()
    scores = _scores_by(taught, engine, [*fitted, *_golden_images(bundle)], manifest=manifest)
    found = merge_scores(
        manifest,
        held_out=score_held_out(parts, new, clusters, manifest=manifest, near=near),
        learnt=highest_of_clusters(scores[: len(new)], clusters),
    )
    threshold = None if manifest.threshold.method == "manual" else find_threshold(manifest, found)
    after = correct_manifest(manifest, new, threshold, found).model_copy(
        update={
            "prototypes": manifest.prototypes + len(prototypes),
            "golden": score_golden(manifest.golden, scores[len(new) :]),
            "images": count_images(manifest.images, len(new), clusters.count),
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
        bundle = write_correction(draft, Path(folder) / draft.bundle.path.name)
        settings = settings_from_bundle(bundle)
        with Inspector(bundle, settings=settings, engine=engine) as after:
            return compare_inspectors(before, after, marked)


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


def _scores_by(
    model: bytes, engine: str, images: Sequence[npt.NDArray[np.uint8]], *, manifest: Manifest
) -> npt.NDArray[np.float32]:
    """Scores of images of the model's size, by the engine that will judge."""
    chosen = choose_engine(engine).name
    options = EngineOptions(manifest.precision)
    with open_engine(model, engine=chosen, options=options) as opened:
        return np.array([opened.infer(image[None])[1][0] for image in images], np.float32)
