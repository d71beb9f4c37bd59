"""`edge teach`: parts that were marked good become part of what an inspector knows."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibrate.images import Skipped, fit_image, usable_images
from calibrate.likeness.find import clusters_of_sketches
from calibrate.likeness.sketches import sketch_of
from calibrate.protoad.taught_head import (
    MAX_TAUGHT,
    MOST,
    NotTeachableError,
    TaughtPatches,
    add_prototypes,
    count_taught,
    read_patches,
)
from calibrate.threshold import reaches
from cameras.image_files import image_from_bytes, image_from_file, taking_bits
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_from_bundle
from edge.result import Image
from edge.teaching.choose_parts import TaughtChoice, choose_parts
from edge.teaching.correction import (
    COSTLY,
    FAR_ABOVE,
    Correction,
    describe_left_out,
    far_above,
    write_correction,
)
from edge.teaching.effect import (
    CorrectionEffect,
    PartSample,
    VerdictAndScore,
    effect_on,
    golden_samples,
    judge_samples,
    marked_samples,
)
from edge.teaching.marked_parts import MarkedParts, TeachError
from edge.teaching.new_scores import highest_of_clusters, score_held_out
from edge.teaching.proposal import ProposalRefusedError
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

TRIES = 5  # corrections that are judged, until none costs a defect
USUAL = 0.99  # of the patches of a good golden image, whose distance is what is usual
REPORT = "report.html"


def correct(
    bundle: Bundle, marked: MarkedParts, *, engine: str, leave_out: bool = True
) -> Correction:
    """Teach an inspector the marked good parts, and compare it with what it was.

    Patches of these parts that are farther from good than is usual become further prototypes. The
    threshold stays where these bring the parts below it, and where it was set by hand; otherwise
    it is found anew from the held-out scores that the bundle keeps and those of the new parts,
    each scored without what it teaches itself; further shots of one part count once. Nothing is
    written.

    Args:
        bundle: at work.
        marked: parts; the defective ones are judged, and not learnt from.
        engine: by which both are judged.
        leave_out: good parts that look like defects, or without which defects would be found that
            now are.

    Raises:
        ProposalRefusedError: all of them would be left out.
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
            lesson = _Lesson.of(before, new, marked, engine=engine)
            correction = _teach(lesson, leave_out=leave_out)
            return replace(correction, known=tuple(known), skipped=tuple(skipped))


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """What is taught, and to which inspector.

    Attributes:
        before: the inspector.
        model: its graph.
        files: pictures of the new parts.
        images: of the model's size.
        patches: of the images.
        usual: how far most patches of a good golden image are from their prototypes.
        most: prototypes that may be added.
        judged: all that is compared, as the inspector judges it.
        engine: by which both are judged.
    """

    before: Inspector
    model: onnx.ModelProto
    files: Sequence[Path]
    images: Sequence[Image]
    patches: Sequence[TaughtPatches]
    usual: float
    most: int
    judged: Sequence[tuple[PartSample, VerdictAndScore]]
    engine: str

    @classmethod
    def of(
        cls, before: Inspector, files: Sequence[Path], marked: MarkedParts, *, engine: str
    ) -> _Lesson:
        bundle = before.bundle
        model = onnx.load_model_from_string(bundle.model())
        images = [_fitted(path, bundle.manifest) for path in files]
        try:
            most = min(MOST, MAX_TAUGHT - count_taught(model))
            patches = list(read_patches(model, images))
            usual = _usual_distance(model, bundle)
        except NotTeachableError as error:
            raise TeachError(f"{bundle.path}: {error}; build it again") from error
        if most <= 0:
            raise TeachError(
                f"{bundle.path}: {MAX_TAUGHT} prototypes were taught, no more can be added; build "
                "it again, with all these parts among the good"
            )
        samples = [*marked_samples(marked), *golden_samples(bundle)]
        judged = [*judge_samples(before, samples)]
        return cls(before, model, files, images, patches, usual, most, judged, engine)

    def only(self, indices: Sequence[int]) -> _Lesson:
        """With some of the parts."""
        return replace(
            self,
            files=[self.files[index] for index in indices],
            images=[self.images[index] for index in indices],
            patches=[self.patches[index] for index in indices],
        )


def _teach(lesson: _Lesson, *, leave_out: bool) -> Correction:
    """Teach all parts; then without those, and without the prototypes, that cost a defect.

    Raises:
        ProposalRefusedError: no part is left.
    """
    manifest = lesson.before.bundle.manifest
    far = far_above(lesson.judged, lesson.files, manifest) if leave_out else ()
    left_out = dict.fromkeys(far, FAR_ABOVE)
    lost: dict[PartSample, TaughtPatches] = {}
    for _ in range(TRIES):
        lesson, choice = _choose(lesson, [*lost.values()], left_out)
        correction = _draft(lesson, choice)
        if correction.threshold is not None and leave_out and correction.effect.lost():
            correction = _draft(lesson, choice, threshold_stays=True)
        new = [one for one in correction.effect.lost() if one not in lost]
        if not new or not leave_out:
            break
        images = [sample.fitted(manifest) for sample in new]
        lost |= dict(zip(new, read_patches(lesson.model, images), strict=True))
    return replace(correction, left_out=left_out)


def _choose(
    lesson: _Lesson, lost: Sequence[TaughtPatches], left_out: dict[Path, str]
) -> tuple[_Lesson, TaughtChoice]:
    """What is taught, and with which parts; the others join those that are left out.

    Raises:
        ProposalRefusedError: no part is left.
    """
    manifest = lesson.before.bundle.manifest
    lesson = lesson.only([at for at, path in enumerate(lesson.files) if path not in left_out])
    choice = choose_parts(lesson.patches, lost, manifest, usual=lesson.usual, most=lesson.most)
    costly = [path for at, path in enumerate(lesson.files) if at not in choice.parts]
    left_out |= dict.fromkeys(costly, COSTLY)
    if not choice.parts:
        raise ProposalRefusedError([describe_left_out(left_out)])
    return lesson.only(choice.parts), choice


def _draft(lesson: _Lesson, choice: TaughtChoice, *, threshold_stays: bool = False) -> Correction:
    """A correction with all parts of a lesson, compared with what was before."""
    bundle, prototypes = lesson.before.bundle, choice.prototypes
    manifest = bundle.manifest
    clusters = clusters_of_sketches([sketch_of(image) for image in lesson.images])
    taught = add_prototypes(lesson.model, prototypes) if len(prototypes) else bundle.model()
    asked = [*lesson.images, *_golden_images(bundle)]
    scores = _scores_by(taught, lesson.engine, asked, manifest=manifest)
    own = scores[: len(lesson.files)]
    held_out = None
    if not threshold_stays and _needs_another_threshold(own, manifest):
        held_out = score_held_out(
            lesson.patches, lesson.files, clusters, manifest=manifest, near=choice.near
        )
    learnt = highest_of_clusters(own, clusters)
    found = merge_scores(manifest, held_out=held_out, learnt=learnt)
    threshold = None if held_out is None else find_threshold(manifest, found)
    after = correct_manifest(manifest, lesson.files, threshold, found).model_copy(
        update={
            "prototypes": manifest.prototypes + len(prototypes),
            "golden": score_golden(manifest.golden, scores[len(own) :]),
            "images": count_images(manifest.images, len(own), clusters.count),
        }
    )
    draft = Correction(
        bundle=bundle,
        manifest=after,
        model=taught,
        files={name: bundle.read(name) for name in manifest.files if name not in (MODEL, REPORT)},
        learnt=tuple(lesson.files),
        left_out={},
        known=(),
        skipped=(),
        different=clusters.count,
        prototypes=len(prototypes),
        threshold=threshold,
        effect=CorrectionEffect(()),
    )
    return replace(draft, effect=_compare(draft, lesson))


def _needs_another_threshold(taught: npt.NDArray[np.float32], manifest: Manifest) -> bool:
    """Whether taught parts are rejected in spite of what they have added.

    They were chosen because they were rejected, and so their scores say nothing of how often that
    happens: a threshold that follows them lets defects pass.
    """
    threshold = manifest.threshold
    if threshold.method == "manual":
        return False
    return any(reaches(score, threshold.value) for score in taught.tolist())


def _compare(draft: Correction, lesson: _Lesson) -> CorrectionEffect:
    """Judge by both; the new one is opened from a bundle of its own, as it will be in service."""
    with tempfile.TemporaryDirectory(prefix="edge-teach-") as folder:
        bundle = write_correction(draft, Path(folder) / draft.bundle.path.name)
        settings = settings_from_bundle(bundle)
        with Inspector(bundle, settings=settings, engine=lesson.engine) as after:
            return effect_on(lesson.judged, after)


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
