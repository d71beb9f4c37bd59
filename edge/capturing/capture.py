"""`edge capture`: from a camera to a folder of pictures that an inspector learns from."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2

from cameras.connect import open_source
from cameras.errors import CameraError, ImageError, SourceError
from cameras.frame import Frame
from cameras.redaction import printable_path
from cameras.source import Source
from edge.capturing.choosers import Chooser, WhenChanged, every_nth, every_seconds
from edge.capturing.folder import PictureFolder
from edge.capturing.hints import PictureHints
from edge.capturing.http_triggers import listen_for_triggers
from edge.capturing.triggers import Trigger, Triggers
from edge.capturing.writer import PictureWriter
from edge.config import Config, ConfigError
from edge.fields import overlay
from edge.options import CameraSection, CaptureOptions, LifeOptions
from edge.result import Image, Roi, Say
from edge.service.line_triggers import numbers_from_lines, open_triggers
from edge.service.signals import stop_on_signals
from edge.sinks.disk_quota import MIB
from edge.sinks.losses import RepeatFilter
from edge.sinks.sink import refuse_watched
from edge.sinks.window import WindowSink
from process.signals import FINISHING_S, end_within
from process.threads import GuardedThread

TakeTrigger: TypeAlias = Callable[[], Trigger]
OpenPlc: TypeAlias = Callable[[TakeTrigger], AbstractContextManager[None]]
"""Lets a PLC trigger while a block runs."""
LOOK_S = 0.2  # between two live pictures that are looked at closely


@dataclass(frozen=True, slots=True)
class Captured:
    """What was captured.

    Attributes:
        folder: of the pictures.
        frames: that came with an image.
        saved: pictures on the disk.
        lost: that were chosen and are not there.
        triggered: triggers that came.
        doubled: of these, those that came before the frame that another one took.
        missed: of these, those without a picture.
        dropped: frames that the camera gave and nobody took.
        looked_at: pictures whose light, sharpness and likeness were measured.
        different: things that those show; further shots of one part are one.
        sharpness: the median.
        seconds: from the start to the end.
        trouble: why it ended, where the camera failed; empty otherwise.
    """

    folder: str
    frames: int
    saved: int
    lost: int
    triggered: int
    doubled: int
    missed: int
    dropped: int
    looked_at: int
    different: int
    sharpness: float | None
    seconds: float
    trouble: str


def capture_pictures(
    options: CaptureOptions,
    camera: CameraSection,
    *,
    say: Say,
    life: LifeOptions | None = None,
    open_plc: OpenPlc | None = None,
) -> Captured:
    """Save frames as they come, undrawn and without loss, until a signal, the count or the end.

    Args:
        options: which frames, and where to.
        camera: as `edge stream` would open it.
        say: takes lines for people.
        life: who may trigger over HTTP.
        open_plc: lets a PLC trigger while a block runs, and is told how; None: there is none.

    Raises:
        ConfigError: two ways of choosing frames.
        SourceError, CameraError, SinkError, MonitorError: as their modules say.
    """
    _check_ways(options, has_plc=open_plc is not None)
    end_within(FINISHING_S)
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
        folder = stack.enter_context(PictureFolder(options.folder))
        if folder.pictures:
            say(folder.what_is_there())
        writer = PictureWriter(folder, max_bytes=options.memory_mb * MIB)
        stack.enter_context(writer)
        window = stack.enter_context(WindowSink()) if options.show else None
        chooser = _chooser_from(options, camera.roi, source, has_plc=open_plc is not None)
        hints = PictureHints(camera.roi)
        run = _CaptureRun(chooser, writer, hints, folder, say=say, window=window)
        stack.enter_context(_ending_at_once(source, stop))
        if isinstance(chooser, Triggers):
            stack.enter_context(
                _triggering(chooser, options, life or LifeOptions(), open_plc, stop=stop, say=say)
            )
        run.follow(source, count=options.count, stop=stop)
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
        folder: PictureFolder,
        *,
        say: Say,
        window: WindowSink | None,
    ) -> None:
        self._chooser = chooser
        self._triggers = chooser if isinstance(chooser, Triggers) else None
        self._changes = chooser if isinstance(chooser, WhenChanged) else None
        self._writer = writer
        self._hints = hints
        self._folder = folder
        self._say = say
        self._window = window
        self._repeats = RepeatFilter()
        self._begun_s = time.monotonic()
        self._looked_s = -LOOK_S
        self._frames = self._chosen = self._looked_at = 0
        self._trouble = ""

    def follow(self, source: Source, *, count: int | None, stop: threading.Event) -> None:
        """Take frames until enough are saved, the source ends or fails, or it is told to stop."""
        frames = iter(source)
        try:
            while self._is_wanted(source, stop) and (frame := next(frames, None)) is not None:
                if stop.is_set() or not self._take(frame, live=source.live):
                    break
                if count is not None and self._writer.has(count):
                    break
        except SourceError:
            raise
        except CameraError as error:  # what was saved before is told all the same
            self._trouble = str(error)
            self._say(self._trouble)
        if self._triggers is not None:
            self._tell_missed(self._triggers.end(), self._trouble or "the capture has ended")
        if self._changes is not None and not self._chosen:
            self._tell_hint(self._changes.hint(at_end=True))

    def summary(self, folder: str, *, dropped: int) -> Captured:
        """Sum up, once all is written."""
        triggers = self._triggers or Triggers()
        return Captured(
            folder=folder,
            frames=self._frames,
            saved=self._writer.saved,
            lost=self._writer.losses.total,
            triggered=triggers.came,
            doubled=triggers.doubled,
            missed=triggers.missed,
            dropped=dropped,
            looked_at=self._looked_at,
            different=self._hints.count_different(),
            sharpness=self._hints.sharpness,
            seconds=round(time.monotonic() - self._begun_s, 3),
            trouble=self._trouble,
        )

    def _is_wanted(self, source: Source, stop: threading.Event) -> bool:
        """Whether another frame is; a file's waits for its trigger."""
        if stop.is_set():
            return False
        return source.live or self._triggers is None or self._triggers.await_one(stop)

    def _take(self, frame: Frame, *, live: bool) -> bool:
        """Take a frame; False when the window was closed."""
        if frame.image is None:
            self._take_none(frame.reason)
            return self._window is None or self._window.poll()
        if not self._frames:
            self._folder.check_size(frame.image.shape[:2])
        self._frames += 1
        if self._chooser(frame):
            self._save(frame, frame.image, live=live)
        if self._changes is not None:
            self._tell_hint(self._changes.hint())
        if self._window is not None:
            self._window.show(_with_count(frame.image, self._chosen))
            return self._window.poll()
        return True

    def _take_none(self, reason: str) -> None:
        """The camera is away, or what it sent is no picture: a trigger's moment is gone."""
        missed = [] if self._triggers is None else self._triggers.miss(reason)
        self._tell_missed(missed, reason)
        if not missed and self._repeats.is_news(reason):
            self._say(reason)

    def _save(self, frame: Frame, image: Image, *, live: bool) -> None:
        written = self._writer.put(image, frame.captured_at_ns, frame.index, waits=not live)
        if self._triggers is not None:
            self._triggers.settle(written)
        if written is not None:
            self._chosen += 1
            if not live or time.monotonic() - self._looked_s >= LOOK_S:
                self._look(image)

    def _look(self, image: Image) -> None:
        self._looked_s = time.monotonic()
        self._looked_at += 1
        try:
            for line in self._hints.look(image):
                self._say(line)
        except ImageError as error:
            if self._repeats.is_news(str(error)):
                self._say(str(error))

    def _tell_missed(self, missed: Sequence[Trigger], reason: str) -> None:
        if missed:
            numbers = ", ".join(str(trigger.number) for trigger in missed)
            self._say(f"trigger {numbers}: no picture: {reason}")

    def _tell_hint(self, hint: str) -> None:
        if hint:
            self._say(hint)


def _check_ways(options: CaptureOptions, *, has_plc: bool) -> None:
    """Refuse two ways of choosing frames; triggers may come from several places.

    Raises:
        ConfigError: there are two.
    """
    ways = {
        "--nth": options.nth,
        "--every": options.every,
        "--on-change": options.on_change,
        "--triggered": options.triggered,
        "--listen": options.listen,
        "--bridge": has_plc,
    }
    asked = [name for name, value in ways.items() if value]
    if len(asked) > 1 and set(asked) - {"--triggered", "--listen", "--bridge"}:
        raise ConfigError(f"{' and '.join(asked)}: two ways to choose frames; give one of them")


def _chooser_from(
    options: CaptureOptions, roi: Roi | None, source: Source, *, has_plc: bool
) -> Chooser:
    if options.triggered or options.listen or has_plc:
        return Triggers(live=source.live, settle_ms=options.settle_ms)
    if options.every:
        return every_seconds(options.every)
    return WhenChanged(roi) if options.on_change else every_nth(options.nth or 1)


@contextlib.contextmanager
def _ending_at_once(source: Source, stop: threading.Event) -> Iterator[None]:
    """Close the source as soon as it is told to stop, whatever is waited for there."""

    def close() -> None:
        stop.wait()
        source.close()

    thread = GuardedThread(close, name="edge-stop", goes_on=False)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _triggering(
    triggers: Triggers,
    options: CaptureOptions,
    life: LifeOptions,
    open_plc: OpenPlc | None,
    *,
    stop: threading.Event,
    say: Say,
) -> Iterator[None]:
    """Let whoever may trigger do so while the block runs."""
    with contextlib.ExitStack() as stack:
        if options.listen is not None:
            listening = listen_for_triggers(options.listen, triggers.trigger, life=life, say=say)
            stack.enter_context(listening)
        if open_plc is not None:
            stack.enter_context(open_plc(triggers.trigger))
        if options.triggered:
            say("press Enter for a picture, Ctrl-D to end")
            is_alone = options.listen is None and open_plc is None
            _follow_lines(triggers, stop, is_alone=is_alone)
        stack.callback(triggers.end)  # whoever waits for a picture gets an answer
        yield


def _follow_lines(triggers: Triggers, stop: threading.Event, *, is_alone: bool) -> None:
    """Let each line trigger, in a thread; their end is the run's, if nothing else triggers."""

    def follow() -> None:
        for _number in numbers_from_lines(open_triggers(), stop):
            triggers.trigger()
        if is_alone:
            triggers.wait_until_served()
            stop.set()

    GuardedThread(follow, name="edge-line-triggers", goes_on=False).start()


def _with_count(image: Image, count: int) -> Any:
    """A copy with the number of pictures in its corner."""
    shown = image.copy()
    scale = max(0.5, image.shape[0] / 600)
    place = (round(12 * scale), round(30 * scale))
    for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
        thick = max(1, round(width * scale))
        cv2.putText(shown, f"{count} saved", place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick)
    return shown
