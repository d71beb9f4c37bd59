"""The command `edge stream`: what parses; everything heavy is imported when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import console
from edge.cli import tables
from edge.cli.choices import EngineOption, Json

SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SOURCE...]",
        help="/dev/video0, 0, csi://0, rtsp://…, http://…, file, folder, glob, or the name of "
        "a camera in edge.toml; several run together.",
    ),
]
BundleOption = Annotated[
    Path | None, typer.Option(help="Default: of edge.toml, or the only one in build/.")
]
ShowOption = Annotated[
    bool | None,
    typer.Option("--show/--no-show", help="Window; default: where there is a display."),
]
RecordOption = Annotated[Path | None, typer.Option(help="Overlay video, .mp4 or .avi.")]
ResultsOption = Annotated[Path | None, typer.Option(help="JSON lines, one a frame.")]
DatabaseOption = Annotated[Path | None, typer.Option(help="SQLite, a row a frame.")]
PicturesOption = Annotated[Path | None, typer.Option(help="Folder for overlay pictures.")]
KeepOption = Annotated[
    Path | None, typer.Option(help="Folder for NG and ERROR parts, with a quota.")
]
MonitorOption = Annotated[
    str | None, typer.Option(help="127.0.0.1:PORT of the page, /healthz and /metrics.")
]
ThresholdOption = Annotated[float | None, typer.Option(help="In place of the bundle's.")]
MinAreaOption = Annotated[
    int | None, typer.Option(min=0, help="Smallest region that rejects, px of the frame.")
]
IgnoreOption = Annotated[Path | None, typer.Option(help="Mask: white is ignored.")]
MaxFramesOption = Annotated[int | None, typer.Option(min=1, help="Stop after so many.")]
StallAfterOption = Annotated[float | None, typer.Option(help="s without a frame: ERROR.")]
DeadlineMsOption = Annotated[
    float | None, typer.Option(min=1, help="From a live frame to its result, then ERROR.")
]
TriggeredOption = Annotated[
    bool, typer.Option("--triggered", help="A part for each line on stdin, not each frame.")
]


def stream(
    sources: SourcesArgument = None,
    bundle: BundleOption = None,
    engine: EngineOption = None,
    show: ShowOption = None,
    record: RecordOption = None,
    results: ResultsOption = None,
    database: DatabaseOption = None,
    pictures: PicturesOption = None,
    keep: KeepOption = None,
    monitor: MonitorOption = None,
    threshold: ThresholdOption = None,
    min_area: MinAreaOption = None,
    ignore: IgnoreOption = None,
    max_frames: MaxFramesOption = None,
    stall_after: StallAfterOption = None,
    deadline_ms: DeadlineMsOption = None,
    triggered: TriggeredOption = False,
    json: Json = False,
) -> None:
    """Inspect cameras, streams, videos or images."""
    from edge.stream.cameras import Watch
    from edge.stream.run import watch

    options = Watch(
        sources=tuple(sources or ()),
        bundle=bundle,
        engine=engine.value if engine else None,
        show=show,
        record=record,
        results=results,
        database=database,
        pictures=pictures,
        keep=keep,
        monitor=monitor,
        threshold=threshold,
        min_area=min_area,
        ignore=ignore,
        max_frames=max_frames,
        stall_after=stall_after,
        deadline_ms=deadline_ms,
        triggered=triggered,
    )
    summary = watch(options, say=console.say)
    if json:
        console.print_json(summary.to_json())
    else:
        tables.say_summary(summary.to_json())
