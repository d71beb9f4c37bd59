"""`edge evaluate`: a bundle against labelled images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from calibrate.dataset import dataset_from_folder
from calibrate.evaluate import Evaluation
from calibrate.operating_points import operating_points, thresholds_to_compare
from calibrate.progress import Stages
from cameras.redaction import printable_path
from edge.drawing.grid import draw_grid
from edge.evaluation.measure import Measured, measure, png_from_image
from edge.evaluation.report import evaluation_report
from edge.inspection.held_out import scores_of_record
from edge.inspection.inspector import load_with_progress
from edge.inspection.settings import mask_from_file
from engines.atomic_files import replace_file
from engines.changes import built_threshold
from engines.choose import AUTO
from engines.manifest import Manifest


class NothingCountedError(RuntimeError):
    """Not one of the labelled images could be scored, so there are no figures."""


def evaluate_bundle(
    bundle: Path,
    images: Path,
    *,
    engine: str = AUTO,
    threshold: float | None = None,
    min_area: int | None = None,
    ignore: Path | None = None,
    grid: Path | None = None,
    report: Path | None = None,
    stages: Stages,
) -> Evaluation:
    """Measure a bundle on a folder's labelled images.

    Args:
        bundle: the bundle's folder.
        images: in MVTec's layout, or ``good`` and defects side by side.
        engine: ``auto`` or the name of one.
        threshold: in place of the bundle's own.
        min_area: smallest region in pixels of the image, in place of the bundle's own.
        ignore: picture that is white where nothing counts, in place of the bundle's own.
        grid: where to write the picture grid; None = nowhere.
        report: where to write the page with figures, curve and pictures; None = nowhere.
        stages: told about progress.

    Raises:
        DatasetError: as `dataset_from_folder`.
        NothingCountedError: every image is skipped.
        BundleError, EngineError: as their modules say.
        OSError: the grid or the page cannot be written.
    """
    samples = dataset_from_folder(images, to_learn=False).to_judge
    with (
        load_with_progress(
            bundle,
            engine=engine,
            threshold=threshold,
            min_area=min_area,
            ignore=mask_from_file(ignore) if ignore else None,
        ) as inspector,
        stages.stage("labelled images") as advance,
    ):
        manifest, runs_on = inspector.bundle.manifest, inspector.engine.name
        compared = _thresholds(manifest, inspector.settings.threshold)
        measured = measure(
            inspector.engine,
            samples,
            size=manifest.size,
            settings=inspector.settings,
            learnt=manifest.learnt_files,
            compare=compared,
            progress=advance,
        )
    refuse_nothing_counted(measured.evaluation, images)
    measured = _add_points(measured, manifest, compared)
    if grid is not None and measured.rows:
        picture = draw_grid(measured.rows, threshold=measured.region_threshold)
        replace_file(grid, png_from_image(picture))
    if report is not None:
        where = printable_path(images)
        page = evaluation_report(manifest, measured, images=where, engine=runs_on)
        replace_file(report, page.encode())
    return measured.evaluation


def _add_points(measured: Measured, manifest: Manifest, compared: tuple[float, ...]) -> Measured:
    """With what other thresholds do, where the bundle kept its held-out scores."""
    if manifest.held_out is None:
        return measured
    points = operating_points(
        compared,
        scores_of_record(manifest.held_out),
        recommended=built_threshold(manifest),
        labelled=measured.compared,
    )
    return replace(measured, evaluation=replace(measured.evaluation, operating_points=points))


def refuse_nothing_counted(evaluation: Evaluation, images: Path) -> None:
    """See that figures are of one image at least.

    Raises:
        NothingCountedError: every image is skipped; says why the first one is.
    """
    if evaluation.good_images + evaluation.defect_images:
        return
    name, reason = next(iter(evaluation.skipped.items()))
    first = reason if name in reason else f"{name}: {reason}"
    raise NothingCountedError(
        f"{images}: none of {len(evaluation.skipped)} images counts; the first: {first}"
    )


def _thresholds(manifest: Manifest, used: float) -> tuple[float, ...]:
    """Those to compare, that of the build and the one in use among them."""
    if manifest.held_out is None:
        return ()
    scores = scores_of_record(manifest.held_out)
    return thresholds_to_compare(
        scores,
        probabilities=manifest.held_out.probabilities,
        others=(built_threshold(manifest), used),
    )
