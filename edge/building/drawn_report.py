"""What is found of drawn defects, for the page and in one sentence."""

from __future__ import annotations

from calibrate.defects.detection import CLEAR, clear_cells, share_found
from edge.drawing.report import DetectionSection, Table, Value
from engines.drawn_record import DrawnCellRecord, DrawnDefectsRecord


def describe_drawn(record: DrawnDefectsRecord) -> str:
    """How many are found, and from which size on, in one sentence."""
    auroc = "" if record.auroc is None else f", AUROC {record.auroc:.3f}"
    return (
        f"{record.outlook}: {record.found} of {record.drawn} defects drawn into {record.images} "
        f"good images are found{auroc}; {_describe_smallest(record)}"
    )


def detection_section(record: DrawnDefectsRecord) -> DetectionSection:
    """The record as the page shows it."""
    sizes = sorted({cell.size for cell in record.cells})
    clear = clear_cells(record.cells)
    faint = [cell for cell in record.cells if cell.contrast < CLEAR]
    return DetectionSection(
        statement=f"{describe_drawn(record)}.",
        warning=record.warning,
        sizes_px=[size * record.shorter_side for size in sizes],
        clear=[_share(clear, size=size) for size in sizes],
        faint=[_share(faint, size=size) for size in sizes],
        table=_table(record, sizes),
    )


def _describe_smallest(record: DrawnDefectsRecord) -> str:
    if record.smallest_px is None:
        return "of clear ones of no size even half"
    least = min(cell.size for cell in record.cells) * record.shorter_side
    length = f"{record.smallest_px:.0f} px"
    if record.smallest_mm is not None:
        length += f" ({record.smallest_mm:.2g} mm)"
    beyond = " or less" if record.smallest_px <= least else ""
    return f"half of the clear ones from {length}{beyond} on"


def _table(record: DrawnDefectsRecord, sizes: list[float]) -> Table:
    """Size by kind, then by contrast: how many of how many are found."""
    kinds = sorted({cell.kind for cell in record.cells})
    contrasts = sorted({cell.contrast for cell in record.cells})
    rows: list[list[Value]] = []
    for size in sizes:
        same = [cell for cell in record.cells if cell.size == size]
        groups = [
            *([cell for cell in same if cell.kind == kind] for kind in kinds),
            *([cell for cell in same if cell.contrast == one] for one in contrasts),
        ]
        length = f"{size * record.shorter_side:.0f} px ({size:.0%})"
        rows.append([length, *(_found_of(cells) for cells in groups)])
    head = ["size", *kinds, *(f"contrast {contrast:g}" for contrast in contrasts)]
    return Table("Drawn defects found, by size", head, rows)


def _found_of(cells: list[DrawnCellRecord]) -> str:
    drawn = sum(cell.drawn for cell in cells)
    return f"{sum(cell.found for cell in cells)}/{drawn}" if drawn else ""


def _share(cells: list[DrawnCellRecord], *, size: float) -> float | None:
    return share_found([cell for cell in cells if cell.size == size])
