"""`edge capture`: from a camera to a folder of pictures that an inspector learns from."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

import cv2

from cameras.connect import open_source
from cameras.errors import ImageError
from cameras.frame import Frame
from cameras.redaction import printable_path
from cameras.source import Source
from edge.capturing.choosers import Chooser, Triggers, every_nth, every_seconds, when_changed
from edge.capturing.hints import PictureHints
from edge.capturing.writer import PictureWriter
from edge.config import Config, ConfigError
from edge.fields import overlay
from edge.options import CameraSection, CaptureOptions
from edge.result import Image, Say
from edge.service.signals import stop_on_signals
from edge.sinks.disk_quota import MIB
from edge.sinks.losses import RepeatFilter
from edge.sinks.sink import refuse_watched
from edge.sinks.window import WindowSink
from process.threads import GuardedThread

LOOK_S = 0.2  # between two live pictures that are looked at closely
LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class Captured:
    """What was captured.

    Attributes:
        folder: of the pictures.
        frames: that came with an image.
        saved: pictures on the disk.
        lost: that were chosen and are not there.
        dropped: frames that the camera gave and nobody took.
        looked_at: pictures whose light, sharpness and likeness were measured.
        different: things that those show; further shots of one part are one.
        sharpness: the median.
        seconds: from the start to the end.
    """

    folder: str
    frames: int
    saved: int
    lost: int
    dropped: int
    looked_at: int
    different: int
    sharpness: float | None
    seconds: float


def capture_pictures(options: CaptureOptions, camera: CameraSection, *, say: Say) -> Captured:
    """Save frames as they come, undrawn and without loss, until a signal, the count or the end.

    Args:
        options: which frames, and where to.
        camera: as `edge stream` would open it.
        say: takes lines for people.

    Raises:
        ConfigError: two ways of choosing frames.
        SourceError, CameraError, SinkError: as their modules say.
    """
    chooser = _chooser_from(options)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        source = stack.enter_context(
            open_source(
                camera.source,
                stall_after=camera.stall_after,
                options=camera.options,
                bit_depth=camera.bit_depth,
            )
        )
        refuse_watched(options.folder, source)
        room = options.memory_mb * MIB
        writer = stack.enter_context(PictureWriter(options.folder, max_bytes=room))
        window = stack.enter_context(WindowSink()) if options.show else None
        if isinstance(chooser, Triggers):
            say("press Enter for a picture, Ctrl-D to end")
            _follow_lines(sys.stdin, chooser, stop)
        run = _CaptureRun(chooser, writer, PictureHints(camera.roi), say=say, window=window)
        run.follow(source, count=options.count, stop=stop)
        writer.close()
        return run.summary(printable_path(options.folder), dropped=getattr(source, "dropped", 0))


def camera_from(given: CaptureOptions, config: Config) -> CameraSection:
    """The camera that the user means, as `edge stream` would open it.

    Args:
        given: on the command line; its source may be the name of a camera.
        config: `edge.toml`.

    Raises:
        ConfigError: no source.
    """
    name = given.source or next(iter((*config.cameras, *config.stream.source)), None)
    if name is None:
        raise ConfigError(
            "no source: name one, such as /dev/video0, or set stream.source in edge.toml"
        )
    section = config.cameras.get(name) or CameraSection(source=name)
    return overlay(CameraSection, config.stream, section, given).model_copy(
        update={"source": section.source}
    )


class _CaptureRun:
    """One run: takes frames, and counts."""

    def __init__(
        self,
        chooser: Chooser,
        writer: PictureWriter,
        hints: PictureHints,
        *,
        say: Say,
        window: WindowSink | None,
    ) -> None:
        self._chooser = chooser
        self._writer = writer
        self._hints = hints
        self._say = say
        self._window = window
        self._repeats = RepeatFilter()
        self._begun_s = time.monotonic()
        self._looked_s = -LOOK_S
        self._frames = self._chosen = self._looked_at = 0

    def follow(self, source: Source, *, count: int | None, stop: threading.Event) -> None:
        """Take frames until enough are saved, the source ends, or it is told to stop."""
        for frame in source:
            if stop.is_set() or not self._take(frame, live=source.live):
                return
            if self._chosen == count:
                return

    def summary(self, folder: str, *, dropped: int) -> Captured:
        """Sum up, once all is written."""
        return Captured(
            folder=folder,
            frames=self._frames,
            saved=self._writer.saved,
            lost=self._writer.losses.total,
            dropped=dropped,
            looked_at=self._looked_at,
            different=self._hints.count_different(),
            sharpness=self._hints.sharpness,
            seconds=round(time.monotonic() - self._begun_s, 3),
        )

    def _take(self, frame: Frame, *, live: bool) -> bool:
        """Take a frame; False when the window was closed."""
        if frame.image is None:
            if self._repeats.is_news(frame.reason):
                self._say(frame.reason)
            return self._window is None or self._window.poll()
        self._frames += 1
        if self._chooser(frame) and self._writer.put(
            frame.image, frame.captured_at_ns, frame.index, waits=not live
        ):
            self._chosen += 1
            if not live or time.monotonic() - self._looked_s >= LOOK_S:
                self._look(frame.image)
        if self._window is not None:
            self._window.show(_with_count(frame.image, self._chosen))
            return self._window.poll()
        return True

    def _look(self, image: Image) -> None:
        self._looked_s = time.monotonic()
        self._looked_at += 1
        try:
            for line in self._hints.look(image):
                self._say(line)
        except ImageError as error:
            if self._repeats.is_news(str(error)):
                self._say(str(error))


def _chooser_from(options: CaptureOptions) -> Chooser:
    """How frames are chosen.

    Raises:
        ConfigError: in two ways at once.
    """
    ways = {
        "--nth": options.nth,
        "--every": options.every,
        "--on-change": options.on_change,
        "--triggered": options.triggered,
    }
    asked = [name for name, value in ways.items() if value]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)}: two ways to choose frames; give one of them")
    if options.every:
        return every_seconds(options.every)
    if options.on_change:
        return when_changed()
    if options.triggered:
        return Triggers()
    return every_nth(options.nth or 1)


def _follow_lines(lines: TextIO, triggers: Triggers, stop: threading.Event) -> None:
    """Let each line trigger, in a thread of its own; the end of the lines ends the run."""

    def follow() -> None:
        for line in _short_lines(lines):
            if line.endswith(b"\n"):
                triggers.trigger(time.monotonic_ns())
        triggers.wait_until_served()
        stop.set()

    # A daemon: nobody can end a read of standard input.
    GuardedThread(follow, name="edge-lines", goes_on=False).start()


def _short_lines(lines: TextIO) -> Iterator[bytes]:
    """Lines, an endless one in parts; a byte that is no text is as good as another."""
    return iter(partial(lines.buffer.readline, LONGEST_LINE), b"")


def _with_count(image: Image, count: int) -> Any:
    """A copy with the number of pictures in its corner."""
    shown = image.copy()
    scale = max(0.5, image.shape[0] / 600)
    place = (round(12 * scale), round(30 * scale))
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        thick = max(1, round(width * scale))
        cv2.putText(shown, f"{count} saved", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick)
    return shown
