"""`edge evaluate`: a bundle on images, labelled or all good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from calibrate.dataset import check_masks, dataset_from_folder
from calibrate.evaluate import Evaluation
from calibrate.operating_points import operating_points, thresholds_to_compare
from calibrate.progress import Stages
from cameras.image_files import taking_bits
from cameras.redaction import printable_path
from edge.drawing.grid import draw_grid
from edge.evaluation.inspected_part import inspected_part
from edge.evaluation.measure import Measured, measure, png_from_image
from edge.evaluation.report import evaluation_report
from edge.given import GivenSettings
from edge.inspection.held_out import scores_of_record
from edge.inspection.inspector import Inspector
from edge.inspection.loading import load_with_progress
from edge.options import EvaluateOptions
from edge.result import Say
from engines.atomic_files import replace_file
from engines.changes import built_threshold
from engines.choose import engine_on
from engines.manifest import Manifest


class NothingCountedError(RuntimeError):
    """Not one of the images could be scored, so there are no figures."""


def evaluate_bundle(
    bundle: Path,
    images: Path,
    *,
    options: EvaluateOptions | None = None,
    stages: Stages,
    say: Say | None = None,
) -> Evaluation:
    """Measure a bundle on a folder's images, as `edge stream` would judge them.

    Args:
        bundle: the bundle's folder.
        images: in any layout that a build reads; where no good ones are to be measured on, those
            to learn from are.
        options: settings in place of the bundle's own, and what to write.
        stages: told about progress.
        say: told what was found in the folder.

    Raises:
        DatasetError: as `dataset_from_folder`.
        NothingCountedError: no image has a verdict but ERROR.
        BundleError, EngineError: as their modules say.
        OSError: the grid or the page cannot be written.
    """
    options = options or EvaluateOptions()
    dataset = dataset_from_folder(images, to_learn=False)
    if say is not None:
        for line in (dataset.account, *dataset.notes):
            say(line)
    warnings = check_masks(dataset.to_judge)
    with _load(bundle, options) as inspector, stages.stage("images") as advance:
        manifest, runs_on = inspector.bundle.manifest, inspector.engine.name
        compared = _thresholds(manifest, inspector.settings.threshold)
        with taking_bits(options.bit_depth or manifest.bit_depth):
            measured = measure(
                inspector.inspect,
                dataset.to_judge,
                size=manifest.size,
                settings=inspector.settings,
                learnt=manifest.learnt_files,
                compare=compared,
                progress=advance,
            )
            inspected = inspected_part(
                (sample.path for sample in dataset.to_judge),
                roi=inspector.settings.roi,
                ignore=inspector.settings.ignore,
                map_shape=manifest.size,
            )
    refuse_nothing_counted(measured.evaluation, images)
    measured = _complete(measured, manifest, compared, warnings=warnings)
    _write_grid(measured, options)
    if options.report is not None:
        where = printable_path(images)
        page = evaluation_report(
            manifest, measured, images=where, engine=runs_on, inspected=inspected
        )
        replace_file(options.report, page.encode())
    return measured.evaluation


def _write_grid(measured: Measured, options: EvaluateOptions) -> None:
    if options.grid is not None and measured.rows:
        picture = draw_grid(measured.rows, threshold=measured.region_threshold)
        replace_file(options.grid, png_from_image(picture))


def _load(bundle: Path, options: EvaluateOptions) -> Inspector:
    given = GivenSettings.from_options(options)
    inspector = load_with_progress(
        bundle, engine=engine_on(options.engine, options.device), given=given
    )
    inspector.health = inspector.health.without(*options.health_off)
    return inspector


def _complete(
    measured: Measured,
    manifest: Manifest,
    compared: tuple[float, ...],
    *,
    warnings: tuple[str, ...],
) -> Measured:
    """With what is odd, and what other thresholds do where the bundle kept its held-out scores."""
    evaluation = measured.evaluation
    evaluation = replace(evaluation, warnings=(*warnings, *evaluation.warnings))
    if manifest.held_out is not None:
        points = operating_points(
            compared,
            scores_of_record(manifest.held_out),
            recommended=built_threshold(manifest),
            labelled=measured.compared,
        )
        evaluation = replace(evaluation, operating_points=points)
    return replace(measured, evaluation=evaluation)


def refuse_nothing_counted(evaluation: Evaluation, images: Path) -> None:
    """See that figures are of one image at least.

    Raises:
        NothingCountedError: there is none; says why the first one is.
    """
    if evaluation.good_images + evaluation.defect_images:
        return
    without = {**evaluation.errors, **evaluation.skipped}
    name, reason = next(iter(without.items()))
    first = reason if name in reason else f"{name}: {reason}"
    raise NothingCountedError(f"{images}: none of {len(without)} images counts; the first: {first}")


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
