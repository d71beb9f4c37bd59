"""The check on one page: what was found, which images show one thing, and which are odd."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from calibrate.images import Image, fit_image
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.redaction import printable_path
from edge.checking.check import CheckedSet
from edge.drawing.report import Picture, Report, Table, report_html

CLUSTERS_SHOWN = 12
IMAGES_SHOWN = 6  # of a cluster, or of what is odd in one way
THUMB = (144, 192)  # px, height and width of an image on the page
JPEG_QUALITY = 85


def check_report(checked: CheckedSet) -> str:
    """The page as HTML."""
    read = checked.read
    report = Report(
        title=f"{checked.given}: good images",
        facts=_facts(checked),
        facts_title="What was found",
        figures={
            "good images": len(read.usable),
            "different ones": read.clusters.count,
            "rate they prove at best": f"{checked.bound:.2%}",
        },
        notes=checked.lines[1:],
        stages_s=checked.seconds,
        tables=[_rates_table(checked), *_cluster_tables(checked)],
        pictures=_pictures(checked),
    )
    return report_html(report)


def _facts(checked: CheckedSet) -> dict[str, str]:
    found, looks = checked.found, checked.read.looks
    height, width = found.options.size
    roi = found.options.roi
    return {
        "folder": checked.given,
        "layout": found.dataset.layout,
        "files": found.dataset.account,
        "model's size": f"{width} x {height} px",
        "inspected": ",".join(map(str, roi)) if roi else "the whole picture",
        "light": f"{looks.light:.0f} of 255 in the middle image, {looks.burnt_out:.1%} of it white",
        "sharpness": f"{looks.sharpness:.2f} in the middle image (1: edges one pixel wide)",
        "engine": checked.engine_reason,
    }


def _rates_table(checked: CheckedSet) -> Table:
    head = ("false rejects", "different good images needed", "still missing")
    rows = [(f"{one.rate:.2%}", one.needed, one.missing) for one in checked.rates]
    return Table("How many good images prove which rate, none of them rejected", head, rows)


def _cluster_tables(checked: CheckedSet) -> list[Table]:
    shared, paths = checked.read.clusters.shared, checked.read.usable
    if not shared:
        return []
    rows = [
        (len(cluster), ", ".join(_names([paths[index] for index in cluster[:IMAGES_SHOWN]])))
        for cluster in shared[:CLUSTERS_SHOWN]
    ]
    title = f"Images that show one thing and count once: {len(shared)} groups"
    return [Table(title, ("images", "such as"), rows)]


def _pictures(checked: CheckedSet) -> list[Picture]:
    read = checked.read
    rows: list[tuple[str, Sequence[Path]]] = [
        (f"One thing, {len(cluster)} images", [read.usable[index] for index in cluster])
        for cluster in read.clusters.shared[:CLUSTERS_SHOWN]
    ]
    rows += [(finding.text, finding.paths) for finding in read.looks.findings]
    if checked.kinds and checked.kinds.odd:
        rows.append(("Unlike the others", [path for path, _ in checked.kinds.odd]))
    groups = checked.kinds.groups if checked.kinds else ()
    rows += [(f"One of two products, {len(group)} images", group) for group in groups]
    made = (_strip(caption, paths[:IMAGES_SHOWN]) for caption, paths in rows)
    return [picture for picture in made if picture is not None]


def _strip(caption: str, paths: Sequence[Path]) -> Picture | None:
    """Images side by side; those that have gone since are left out."""
    thumbs: list[Image] = []
    for path in paths:
        try:
            thumbs.append(fit_image(image_from_file(path), THUMB))
        except ImageError:
            continue
    if not thumbs:
        return None
    _, data = cv2.imencode(".jpg", np.hstack(thumbs), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Picture(f"{caption}: {', '.join(_names(paths))}", data.tobytes())


def _names(paths: Sequence[Path]) -> list[str]:
    return [printable_path(path.name) for path in paths]
