"""Where results go: the same for `edge stream` and `edge serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edge.fields import Count, OptionsModel, Positive, option, setting
from edge.options.names import RESULTS_KEPT, RESULTS_MB


class RecordOptions(OptionsModel):
    """Files, database, kept parts, recording, and a candidate that judges the same."""

    record: Path | None = option(
        None,
        "Video of the drawn results, .mp4 or .avi; a folder gets one video for every ten minutes.",
        example="overlay.mp4",
    )
    results: Path | None = option(
        None, "File of JSON lines, one for each result.", example="results.jsonl"
    )
    results_mb: Positive = setting(
        RESULTS_MB, "MiB at which a new results file begins; each day has its own, too."
    )
    results_kept: Positive = setting(RESULTS_KEPT, "Number of older results files.")
    database: Path | None = option(
        None,
        "SQLite database, one row for each result.",
        unset="results.db in the folder of kept parts",
        example="results.db",
    )
    keep: Path | None = option(
        None, "Folder for pictures and results of NG and ERROR parts.", example="kept"
    )
    keep_ok: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = setting(
        0.0, "Share of the OK parts that are kept, too, such as 0.01."
    )
    keep_mb: Positive = setting(
        10240, "MiB that the folder of kept parts may take; the oldest are removed."
    )
    keep_free_mb: Count = setting(512, "MiB of the disk that stay free.")
    shadow: Path | None = option(
        None,
        "Candidate bundle that judges the same pictures; its verdicts are recorded, no more.",
        example="build/candidate.edge",
    )
