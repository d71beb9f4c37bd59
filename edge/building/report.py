"""The build's one-page report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calibrate.threshold import Threshold
from edge.building.drawn_defects import DrawnDefects
from edge.building.drawn_report import detection_section
from edge.building.good_pictures import highest_images
from edge.building.methods import Taught
from edge.building.odd_images import (
    describe_odd_images,
    describe_rejected_images,
    odd_images,
    odd_pictures,
    rejected_images,
)
from edge.building.tuning_report import tuning_tables
from edge.drawing.report import Picture, Report, Table, ThresholdSection, report_html
from edge.evaluation.inspected_part import inspected_part
from edge.evaluation.measure import Measured
from edge.evaluation.report import (
    defect_tables,
    figure_tiles,
    grid_picture,
    labelled_pictures,
    points_table,
    trade_off_of,
)
from edge.health.learn import undetectable_checks
from engines.manifest import HealthRecord, ImageCounts, Manifest
from engines.parity_record import ParityRecord
from engines.threshold_records import OperatingPointRecord


def build_report(
    manifest: Manifest,
    *,
    threshold: Threshold,
    taught: Taught,
    measured: Measured | None,
    points: Sequence[OperatingPointRecord],
    drawn: DrawnDefects | None,
    seconds: Mapping[str, float],
) -> str:
    """The page as HTML: what was built, the threshold and its bound, figures, pictures, times."""
    odd = odd_images(taught.inspector, threshold)
    roi = manifest.roi.box if manifest.roi else None
    report = Report(
        title=f"{manifest.name}: inspector",
        facts=_facts(manifest),
        figures=figure_tiles(manifest.figures) if manifest.figures else {},
        threshold=_threshold_section(threshold, taught, measured),
        trade_off=trade_off_of(measured, points) if measured else None,
        curve=taught.curve,
        detection=detection_section(drawn.record) if drawn else None,
        stages_s=seconds,
        tables=[
            points_table(points, used=threshold.value),
            *(defect_tables(measured.evaluation) if measured else ()),
            *_parity_tables(manifest.parity),
            *tuning_tables(manifest.tuning),
        ],
        groups=[
            highest_images(taught.inspector, threshold, size=manifest.size, roi=roi),
        ],
        pictures=[
            *inspected_part(
                taught.inspector.held_out_files, roi=roi, ignore=None, map_shape=manifest.size
            ),
            *(labelled_pictures(measured) if measured else ()),
            *odd_pictures(odd, size=manifest.size, roi=roi),
            *_drawn_pictures(drawn),
        ],
    )
    return report_html(report)


def _threshold_section(
    threshold: Threshold, taught: Taught, measured: Measured | None
) -> ThresholdSection:
    return ThresholdSection(
        value=threshold.value,
        statement=describe_threshold(threshold),
        warnings=[
            measured.evaluation.alarm if measured else "",
            threshold.warning,
            describe_odd_images(odd_images(taught.inspector, threshold), threshold),
            describe_rejected_images(rejected_images(taught.inspector, threshold)),
        ],
        good=[*taught.inspector.held_out.tolist(), *(measured.good if measured else ())],
        defects=measured.defects if measured else (),
    )


def _drawn_pictures(drawn: DrawnDefects | None) -> list[Picture]:
    if drawn is None:
        return []
    caption = "Drawn defects: the clearest that were missed, then the faintest that were found"
    return [grid_picture(caption, drawn.rows, threshold=drawn.region_threshold)]


def describe_threshold(threshold: Threshold) -> str:
    """What the threshold promises, in one sentence."""
    text = (
        f"{threshold.rejected} of {threshold.held_out} different good images that were not learnt "
        f"from reach {threshold.value:.4f}: at most {threshold.bound:.2%} of good parts are "
        f"rejected, with {threshold.confidence:.0%} confidence "
        f"({threshold.false_rejects:.2%} asked for"
    )
    if threshold.method == "highest scores":
        text += f"; so few images support {threshold.least_rate:.2%}"
    text += ")"
    if threshold.images_to_prove is not None and not threshold.warning:
        text += (
            f"; {threshold.images_to_prove} further good images, none of them rejected, would "
            "prove that rate"
        )
    if threshold.not_extrapolated is not None:
        text += f"; {_describe_extrapolation(threshold.value, threshold.not_extrapolated)}"
    if threshold.raised_from is not None:
        text += (
            f"; raised from {threshold.raised_from:.4f}, so that what was learnt passes: the "
            "images are few, or much alike"
        )
    if threshold.moved:
        text += (
            f"; moved by {threshold.moved:+.4f} of the way from the median good score, to where no "
            "verdict differs from fp32"
        )
    return text


def _describe_extrapolation(value: float, supported: float) -> str:
    """What a tail did to the threshold that the scores support."""
    if f"{value:.4f}" == f"{supported:.4f}":
        return "extrapolation changes nothing: the tail reaches no further than the highest score"
    return (
        f"extrapolated beyond the scores: {value - supported:.4f} higher than the "
        f"{supported:.4f} that they support, which lets more defects pass"
    )


def describe_images(images: ImageCounts) -> str:
    """How many good images were used, how many different ones, and how many left out."""
    alike = images.different is not None and images.different < images.used
    different = f", {images.different} different ones among all" if alike else ""
    return f"{images.used} used{different}, {images.skipped} skipped"


def describe_regions(manifest: Manifest) -> str:
    """From which value of the map on an NG has regions, in a few words."""
    if manifest.pixel_threshold is None:
        return "where the map reaches the threshold"
    return f"where the map reaches {manifest.pixel_threshold:.4f}"


def describe_parity(parity: ParityRecord) -> str:
    """What the precision changed, in one sentence."""
    flips = max((engine.flips for engine in parity.engines), default=0)
    all_images = parity.good + parity.labelled
    errors = ", ".join(
        f"{one.score_error.max:.3f} on {one.engine}"
        + (f" ({parity.images_of(one)} images)" if parity.images_of(one) < all_images else "")
        for one in parity.engines
    )
    line = (
        f"{flips} of {all_images} verdicts differ from fp32 at the threshold; "
        f"good images' scores by at most {errors} of the margin below it"
    )
    if parity.kept:
        names = ", ".join(f"{block.name} in {block.precision}" for block in parity.kept)
        line += f"; kept so: {names}"
    return line


def describe_health(health: HealthRecord) -> str:
    """What the limits of a healthy picture catch, in one sentence."""
    caught = ", ".join(f"{name} {share:.0%}" for name, share in health.caught.items())
    missing = ", ".join(undetectable_checks(health))
    return f"simulated faults caught: {caught}" + (f"; no limit: {missing}" if missing else "")


def _facts(manifest: Manifest) -> dict[str, str]:
    height, width = manifest.size
    roi = manifest.roi
    return {
        "good images": describe_images(manifest.images),
        "inspected": f"{roi.x},{roi.y},{roi.width},{roi.height}" if roi else "the whole picture",
        "built": f"{manifest.created:%Y-%m-%d %H:%M} UTC by protoedge {manifest.protoedge}",
        "model": f"{manifest.model}, {manifest.prototypes} prototypes ({manifest.method})",
        **_training(manifest),
        **({"form": manifest.tuning.reason} if manifest.tuning else {}),
        "backbone": f"{manifest.backbone.name}: {', '.join(manifest.layers)}",
        "precision": f"{manifest.precision}; executed as {manifest.executes}",
        **({"parity": describe_parity(manifest.parity)} if manifest.parity else {}),
        **({"frame health": describe_health(manifest.health)} if manifest.health else {}),
        "engine": "; ".join(manifest.notes),
        "score": _score(manifest),
        "regions of an NG": describe_regions(manifest),
        "size": f"{width} x {height} px{_tiles(manifest)}",
    }


def _tiles(manifest: Manifest) -> str:
    columns, rows = manifest.tiles
    return f" in {columns} x {rows} tiles" if columns * rows > 1 else ""


def _score(manifest: Manifest) -> str:
    """How the map becomes a score."""
    if not manifest.score_kind.startswith("top"):
        return f"maximum of the {manifest.score_kind} map"
    rule = manifest.score_rule
    among = "" if rule.stride == 1 else f", of every {rule.stride}th along each axis"
    counts = " or ".join(str(count) for count in rule.counts)
    return f"mean of the map's {counts} highest values{among}"


def _training(manifest: Manifest) -> dict[str, str]:
    training = manifest.training
    if training is None:
        return {}
    defects = len(training.defects)
    return {
        "network": f"{training.size}, trained in {training.arithmetic}",
        "training": f"{training.steps} steps of {training.batch} images, loss {training.loss:.4f}",
        "defects": f"simulated ({training.textures} textures)"
        + (f"; {defects} real ones, not counted in any figure" if defects else ""),
    }


def _parity_tables(parity: ParityRecord | None) -> list[Table]:
    if parity is None:
        return []
    names = (
        "engine",
        "executes",
        "images",
        "flips",
        "score error, max",
        "p99",
        "mean",
        "map error, max",
    )
    rows = [
        (
            one.engine,
            one.executes,
            parity.images_of(one),
            one.flips,
            one.score_error.max,
            one.score_error.p99,
            one.score_error.mean,
            one.map_error.max,
            one.auroc,
        )
        for one in parity.engines
    ]
    title = (
        f"{parity.precision} against fp32: {parity.good} held-out good and {parity.labelled} "
        f"labelled images, errors as shares of the margin of {parity.room:.4g} below the threshold"
    )
    tables = [Table(title, (*names, "image AUROC"), rows)]
    if parity.kept:
        tables.append(
            Table(
                f"Kept in higher precision, because {parity.before}",
                ("layers", "precision", "share of the work", "error removed alone"),
                [(one.name, one.precision, one.cost, one.error_removed) for one in parity.kept],
            )
        )
    return tables
