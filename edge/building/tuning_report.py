"""Which forms were tried on drawn defects, for the page."""

from __future__ import annotations

from edge.drawing.report import Table
from engines.tuning_record import TuningRecord


def tuning_tables(record: TuningRecord | None) -> list[Table]:
    """The forms and what they made of drawn defects; nothing where none were tried."""
    if record is None or not record.forms:
        return []
    first = record.forms[0]
    rows = [
        (
            form.metric if form.shrinkage is None else f"whitened ({form.shrinkage:g})",
            form.prototypes,
            form.auroc,
            f"{form.auroc - first.auroc:+.3f} ± {form.error:.3f}" if index else "",
            f"{form.found:.0%}",
            "taken" if index == record.chosen else "",
        )
        for index, form in enumerate(record.forms)
    ]
    title = (
        f"Forms tried on {record.drawn} defects drawn into {record.images} held-out good images; "
        "no labelled image was looked at"
    )
    head = ("metric (shrinkage)", "prototypes", "AUROC", "against the first", "found", "")
    return [Table(title, head, rows)]
