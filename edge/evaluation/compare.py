"""`edge compare`: several bundles on the same images: quality, latency, size, build time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibrate.dataset import DatasetError, Sample, check_masks, dataset_from_folder
from calibrate.evaluate import Evaluation
from calibrate.images import evenly, fit_image
from calibrate.progress import Stages
from cameras.errors import ImageError
from cameras.image_files import image_from_file, taking_bits
from edge.drawing.grid import Column, Compared, draw_comparison
from edge.evaluation.bench import FRAMES, BenchReport, bench_inspector
from edge.evaluation.evaluate import refuse_nothing_counted
from edge.evaluation.measure import measure, png_from_image, truth_of, was_learnt
from edge.inspection.inspector import Inspector
from edge.inspection.loading import load_with_progress
from edge.result import Image, Result
from engines.atomic_files import replace_file
from engines.bundle import Bundle

PICTURED = 2  # images of each kind in the picture


@dataclass(frozen=True, slots=True)
class ComparedBundle:
    """One bundle's side of a comparison.

    Attributes:
        name: the bundle's.
        bundle: its folder.
        model: such as ``prn``.
        precision: of the graph.
        evaluation: on the images that no bundle learnt from.
        bench: latency here.
        model_mib: size of the graph.
        build_seconds: None where the bundle does not say.
    """

    name: str
    bundle: Path
    model: str
    precision: str
    evaluation: Evaluation
    bench: BenchReport
    model_mib: float
    build_seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "bundle": str(self.bundle),
            "model": self.model,
            "precision": self.precision,
            **self.evaluation.to_json(),
            "engine": self.bench.engine,
            "executes": self.bench.executes,
            "engine_ms": asdict(self.bench.engine_ms),
            "end_to_end_ms": asdict(self.bench.end_to_end_ms),
            "model_mib": self.model_mib,
            "build_seconds": self.build_seconds,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All bundles, in the order in which they were named.

    Attributes:
        entries: one a bundle.
        images: that were scored by each.
        left_out: that one of them learnt from, and that count for none.
    """

    entries: tuple[ComparedBundle, ...]
    images: int
    left_out: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "bundles": [entry.to_json() for entry in self.entries],
            "images": self.images,
            "left_out": self.left_out,
        }


def compare_bundles(
    bundles: Sequence[Path],
    images: Path,
    *,
    engine: str,
    picture: Path | None,
    frames: int,
    stages: Stages,
) -> Comparison:
    """Measure and time bundles on the same labelled images, one after the other.

    An image that one of them learnt from counts for none.

    Args:
        bundles: folders, two or more.
        images: in any layout that a build reads.
        engine: ``auto`` or the name of one.
        picture: where to write the same images through each of them; None = nowhere.
        frames: that are timed, of each.
        stages: told about progress.

    Raises:
        DatasetError: fewer than two bundles, or no labelled image is left.
        NothingCountedError: not one of them can be scored.
        BundleError, EngineError, ImageError: as their modules say.
        OSError: the picture cannot be written.
    """
    if len(bundles) < 2:
        raise DatasetError(f"{len(bundles)} bundle: name two or more, and the images behind them")
    opened = [Bundle.open(path) for path in bundles]
    learnt = frozenset[str]().union(*(bundle.manifest.learnt_files for bundle in opened))
    samples = dataset_from_folder(images, to_learn=False).to_judge
    check_masks(samples)
    kept = [sample for sample in samples if not was_learnt(sample.path, learnt)]
    if not kept:
        raise DatasetError(
            f"{images}: no images that none of the bundles learnt from; give others, laid out as "
            "docs/layouts.md shows"
        )
    shown = _choose_samples(kept)
    entries, columns = [], []
    for name, bundle in zip(_names(opened), opened, strict=True):
        with (
            taking_bits(bundle.manifest.bit_depth),
            load_with_progress(bundle.path, engine=engine) as inspector,
        ):
            entry = _entry(name, inspector, kept, folder=images, frames=frames, stages=stages)
            entries.append(entry)
            columns.append(_column(name, inspector, shown))
    if picture is not None:
        with taking_bits(opened[0].manifest.bit_depth):
            rows = [_row(sample, opened[0]) for sample in shown]
        replace_file(picture, png_from_image(draw_comparison(rows, columns)))
    return Comparison(tuple(entries), len(kept), len(samples) - len(kept))


def _names(bundles: Sequence[Bundle]) -> list[str]:
    """The bundles' names; numbered where two are called the same."""
    names = [bundle.path.name.removesuffix(".edge") for bundle in bundles]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def _choose_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Some of each kind, evenly spread; defects first."""
    kinds = sorted({sample.defect for sample in samples}, key=lambda kind: (kind == "good", kind))
    return [
        sample
        for kind in kinds
        for sample in evenly([s for s in samples if s.defect == kind], PICTURED)
    ]


def _entry(
    name: str,
    inspector: Inspector,
    samples: Sequence[Sample],
    *,
    folder: Path,
    frames: int,
    stages: Stages,
) -> ComparedBundle:
    manifest = inspector.bundle.manifest
    with stages.stage(f"{name}: quality") as advance:
        measured = measure(
            inspector.inspect,
            samples,
            size=manifest.size,
            settings=inspector.settings,
            progress=advance,
        )
    refuse_nothing_counted(measured.evaluation, folder)
    with stages.stage(f"{name}: latency"):
        timed = bench_inspector(inspector, _readable(samples), iterations=frames)
    return ComparedBundle(
        name=name,
        bundle=inspector.bundle.path,
        model=manifest.model,
        precision=manifest.precision,
        evaluation=measured.evaluation,
        bench=timed,
        model_mib=round(manifest.files["model.onnx"].size / 2**20, 2),
        build_seconds=manifest.seconds,
    )


def _readable(samples: Sequence[Sample]) -> list[Image]:
    frames = []
    for sample in evenly(samples, FRAMES):
        try:
            frames.append(image_from_file(sample.path))
        except ImageError:
            continue  # the evaluation names it
    return frames


def _column(name: str, inspector: Inspector, samples: Sequence[Sample]) -> Column:
    results: list[Result | None] = []
    for sample in samples:
        try:
            results.append(inspector.inspect(image_from_file(sample.path)))
        except ImageError:
            results.append(None)
    return Column(name, inspector.settings.region_threshold, tuple(results))


def _row(sample: Sample, bundle: Bundle) -> Compared:
    manifest = bundle.manifest
    part = manifest.roi.box if manifest.roi else None
    try:
        image = image_from_file(sample.path)
        fitted = fit_image(image, manifest.size, part)
    except ImageError:
        return Compared(None, None, sample.defect)
    mask = truth_of(sample, image_shape=image.shape, size=manifest.size, roi=part)
    return Compared(fitted, mask, sample.defect)
