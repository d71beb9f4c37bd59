"""Draw the README's picture, docs/demo.jpg, from what `edge demo` left in build/demo."""

from __future__ import annotations

from pathlib import Path

import cv2

from calibrate.dataset import GOOD, dataset_from_folder
from edge.drawing.grid import draw_grid
from edge.evaluation.measure import measure
from edge.inspection.inspector import load

DEMO = Path("build/demo")
KINDS = ("chip", "crack", "missing_hole", GOOD)
WIDTH = 760  # px
QUALITY = 82


def main() -> None:
    """Measure the demo's labelled images again; show one of each kind."""
    samples = dataset_from_folder(DEMO / "images").test
    with load(DEMO / "flange.edge") as inspector:
        settings, size = inspector.settings, inspector.bundle.manifest.size
        measured = measure(inspector.inspect, samples, size=size, settings=settings)
    rows = [[row for row in measured.rows if row.title == kind][-1] for kind in KINDS]
    picture = draw_grid(rows, threshold=settings.region_threshold)
    scale = WIDTH / picture.shape[1]
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    cv2.imwrite("docs/demo.jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
