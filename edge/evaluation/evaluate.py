"""`edge evaluate`: a bundle against labelled images."""

from __future__ import annotations

from pathlib import Path

from calibrate.dataset import DatasetError, dataset_from_folder
from calibrate.evaluate import Evaluation
from calibrate.progress import Stages
from edge import console
from edge.evaluation.measure import measure, picture_grid, png_from_image
from edge.inspection.inspector import load_with_progress
from engines.atomic_files import replace_file
from engines.choose import AUTO
from engines.manifest import Manifest


def evaluate_bundle(
    bundle: Path,
    images: Path,
    *,
    engine: str = AUTO,
    threshold: float | None = None,
    grid: Path | None = None,
    stages: Stages,
) -> Evaluation:
    """Measure a bundle on a folder's labelled images.

    Args:
        bundle: the bundle's folder.
        images: in MVTec's layout, or ``good`` and defects side by side.
        engine: ``auto`` or the name of one.
        threshold: in place of the bundle's own.
        grid: where to write the picture grid; None = nowhere.
        stages: told about progress.

    Raises:
        DatasetError: no labelled images.
        BundleError, EngineError: as their modules say.
        OSError: the grid cannot be written.
    """
    dataset = dataset_from_folder(images)
    if not dataset.test:
        raise DatasetError(
            f"{images}: no labelled images; lay them out as test/good and test/DEFECT, with masks "
            "in ground_truth/DEFECT"
        )
    with (
        load_with_progress(bundle, engine=engine, threshold=threshold) as inspector,
        stages.stage("labelled images") as advance,
    ):
        measured = measure(
            inspector.engine,
            dataset.test,
            size=inspector.bundle.manifest.size,
            roi=inspector.settings.roi,
            threshold=inspector.settings.threshold,
            learnt=learnt_files(inspector.bundle.manifest),
            progress=advance,
        )
    pictures = picture_grid(measured)
    if grid is not None and pictures is not None:
        replace_file(grid, png_from_image(pictures))
    return measured.evaluation


def learnt_files(manifest: Manifest) -> frozenset[str]:
    """SHA-256 of the labelled files that an inspector learnt from."""
    return frozenset(manifest.training.defects if manifest.training else ())


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the figures, those of each defect, and why any is missing."""
    rows = [
        (name, getattr(evaluation, name))
        for name in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_max", "threshold")
    ]
    rejects = f"{evaluation.false_rejects} of {evaluation.good_images}"
    escapes = f"{evaluation.escapes} of {evaluation.defect_images}"
    console.print_table("Figures", [*rows, ("false rejects", rejects), ("escapes", escapes)])
    if evaluation.per_defect:
        console.print_columns(
            "Defects",
            ("kind", "images", "escapes", "image AUROC"),
            [(n, d.images, d.escapes, d.image_auroc) for n, d in evaluation.per_defect.items()],
        )
    for name, reason in {**evaluation.reasons, **evaluation.skipped}.items():
        console.say(f"{name}: {reason}")
