"""`edge demo`: a drawn production line, learnt, measured and streamed as a real one would be."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibrate.progress import Advance, Show, Stages
from cameras.connect import open_source
from cameras.frame import Frame
from edge.building.build import build
from edge.building.built import Built
from edge.demo.conveyor import FPS, draw_conveyor
from edge.demo.stills import draw_dataset
from edge.drawing.grid import draw_grid
from edge.evaluation.measure import png_from_image
from edge.inspection.loading import load_with_progress
from edge.options import BuildOptions
from edge.result import Result, Verdict
from edge.sinks.json_lines import JsonLinesSink
from edge.sinks.pictures import PicturesSink
from edge.sinks.sink import Painter, Sink
from edge.sinks.video import VideoSink
from edge.stream.loop import stream
from edge.stream.summary import Summary

SEED = 0
MARKER = ".edge-demo"  # a folder of ours, which may be drawn anew


class DemoError(ValueError):
    """The demo's folder holds files that are not from a demo."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo did.

    Attributes:
        folder: where everything lies.
        built: the bundle and its figures.
        summary: of the stream.
        frames, right: frames of the video, and those whose verdict was the truth.
        seconds: in all.
    """

    folder: Path
    built: Built
    summary: Summary
    frames: int
    right: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The demo's object for machines."""
        return {
            "folder": str(self.folder),
            "build": self.built.to_json(),
            "stream": self.summary.to_json(),
            "verdicts_right": self.right,
            "verdicts": self.frames,
            "seconds": round(self.seconds, 2),
        }


def run_demo(folder: Path, *, show: Show | None = None) -> Demo:
    """Draw, build, evaluate and stream.

    Args:
        folder: made anew; an earlier demo's is replaced, anything else is refused.
        show: told about progress.

    Raises:
        DemoError: the folder holds files that are not from a demo.
        OSError: it cannot be written.
    """
    begun, stages = time.monotonic(), Stages(show)
    _prepare(folder)
    images, video = folder / "images", folder / "conveyor.avi"
    with stages.stage("drawing"):
        draw_dataset(images, seed=SEED)
        truths = draw_conveyor(video, seed=SEED)
    built = build(images, folder / "flange.edge", options=BuildOptions(), stages=stages)
    if built.measured is not None and built.measured.rows:
        picture = draw_grid(built.measured.rows, threshold=built.measured.region_threshold)
        (folder / "grid.png").write_bytes(png_from_image(picture))
    with stages.stage("stream") as advance:
        summary, right = _stream_video(folder, built, truths, advance=advance)
    return Demo(folder, built, summary, len(truths), right, time.monotonic() - begun)


def _prepare(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DemoError(f"{folder}: is a file; give another --output")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise DemoError(f"{folder}: holds files that are not from a demo; give another --output")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _stream_video(
    folder: Path, built: Built, truths: Sequence[str | None], *, advance: Advance
) -> tuple[Summary, int]:
    """Stream the conveyor's video; count the verdicts that are true."""
    right = 0

    def check(_frame: Frame, result: Result) -> None:
        nonlocal right
        right += (result.verdict is Verdict.OK) == (truths[result.frame] is None)
        advance((result.frame + 1) / len(truths))

    with contextlib.ExitStack() as stack:
        inspector = stack.enter_context(load_with_progress(built.bundle.path))
        source = stack.enter_context(open_source(folder / "conveyor.avi"))
        paint = Painter()
        sinks: list[Sink] = [
            stack.enter_context(JsonLinesSink(folder / "results.jsonl", append=False)),
            stack.enter_context(VideoSink(folder / "overlay.mp4", rate_hz=FPS, paint=paint)),
            stack.enter_context(PicturesSink(folder / "pictures", only_ng=True, paint=paint)),
        ]
        summary = stream(inspector.inspect, source, sinks=sinks, on_result=check)
    return summary, right
