"""What was measured on labelled images, on one page: figures, the curve, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2

from calibrate.evaluate import Evaluation
from edge.drawing.grid import Row, draw_grid
from edge.drawing.report import Picture, Report, Table, ThresholdSection, TradeOff, report_html
from edge.evaluation.measure import Measured
from edge.evaluation.points_table import POINTS_HEAD, POINTS_TITLE, point_rows
from engines.manifest import Manifest
from engines.threshold_records import OperatingPointRecord

JPEG_QUALITY = 88


def evaluation_report(
    manifest: Manifest,
    measured: Measured,
    *,
    images: str,
    engine: str,
    inspected: Sequence[Picture] = (),
) -> str:
    """The page of an evaluation as HTML.

    Args:
        manifest: of the bundle that was measured.
        measured: on the labelled images, with the operating points in its evaluation.
        images: where they are.
        engine: that ran the graph.
        inspected: a picture with the region of interest and the ignore mask, if there are any.
    """
    evaluation = measured.evaluation
    rejects = f"{evaluation.false_rejects} of {evaluation.good_images} good images are rejected"
    report = Report(
        title=f"{manifest.name}: evaluation",
        facts={
            "images": images,
            "engine": engine,
            "precision": manifest.precision,
            "built": f"{manifest.created:%Y-%m-%d %H:%M} UTC by protoedge {manifest.protoedge}",
            **evaluation.reasons,
            **({"ERROR": f"{len(evaluation.errors)} images"} if evaluation.errors else {}),
            **({"not counted": f"{len(evaluation.skipped)} images"} if evaluation.skipped else {}),
        },
        figures=figure_tiles(measured.figures),
        threshold=ThresholdSection(
            value=evaluation.threshold,
            statement=f"{rejects}, and {evaluation.escapes} of {evaluation.defect_images} "
            "defective ones pass.",
            warnings=[evaluation.alarm, *evaluation.warnings],
            good=measured.good,
            defects=measured.defects,
        ),
        trade_off=trade_off_of(measured, evaluation.operating_points),
        tables=[
            points_table(evaluation.operating_points, used=evaluation.threshold),
            *defect_tables(evaluation),
        ],
        pictures=[*inspected, *labelled_pictures(measured)],
    )
    return report_html(report)


def figure_tiles(figures: Mapping[str, float]) -> dict[str, float | str | None]:
    """The figures that matter most, by the names that people know."""
    return {
        "image AUROC": figures.get("image_auroc"),
        "pixel AUROC": figures.get("pixel_auroc"),
        "AUPRO": figures.get("aupro"),
        "false rejects": f"{figures['false_rejects']:.0f} of {figures['good_images']:.0f}",
        "escapes": f"{figures['escapes']:.0f} of {figures['defect_images']:.0f}",
    }


def trade_off_of(measured: Measured, points: Sequence[OperatingPointRecord]) -> TradeOff:
    """The curve of escapes against false rejects, with the operating points on it."""
    return TradeOff(measured.good, measured.defects, [one.threshold for one in points])


def points_table(points: Sequence[OperatingPointRecord], *, used: float) -> Table:
    """What other thresholds reject and let pass."""
    return Table(POINTS_TITLE, POINTS_HEAD, point_rows(points, used=used))


def defect_tables(evaluation: Evaluation) -> list[Table]:
    """The kinds of defects; nothing without any."""
    rows = [
        (name, item.images, item.escapes, item.image_auroc)
        for name, item in evaluation.per_defect.items()
    ]
    return [Table("Defects", ("kind", "images", "escapes", "image AUROC"), rows)] if rows else []


def labelled_pictures(measured: Measured) -> list[Picture]:
    """A grid of labelled images; nothing without any."""
    if not measured.rows:
        return []
    caption = "Images nearest to the threshold, of each kind"
    return [grid_picture(caption, measured.rows, threshold=measured.region_threshold)]


def grid_picture(caption: str, rows: Sequence[Row], *, threshold: float) -> Picture:
    """Images, maps and verdicts as one picture."""
    grid = draw_grid(rows, threshold=threshold)
    _, data = cv2.imencode(".jpg", grid, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Picture(caption, data.tobytes())
