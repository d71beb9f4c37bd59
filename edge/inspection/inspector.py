"""An inspector: a bundle, an engine, and the rules that make a verdict."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn
from weakref import finalize, ref

from calibrate.images import fit_image
from cameras.frame import Frame
from edge.drawing.overlay import png_from_result
from edge.health.checks import ImageChecks
from edge.health.measurements import ImageStatsReader
from edge.inspection.deadline import DeadlineRunner
from edge.inspection.given_image import ImageLike, frame_from_image, frames_in_batches
from edge.inspection.ignore_mask import IgnoreMask, Nothing
from edge.inspection.judge import judge_frames, judge_within_border
from edge.inspection.opening import open_engine_of
from edge.inspection.self_test import (
    GoldenImages,
    check_decision,
    check_preparation,
    check_scores,
)
from edge.inspection.settings import check_settings, settings_from_bundle
from edge.inspection.streaming import stream_results
from edge.inspection.unclosed import close_unclosed
from edge.inspection.verdict import DecisionSettings, decide
from edge.inspection.warm_up import warm_up
from edge.options import DEADLINE_MS
from edge.result import Image, Result, Roi, error_from_frame, show_results_as
from engines.bundle import Bundle
from engines.changes import built_roi
from engines.choose import AUTO
from engines.engine import Engine, Images, Output
from engines.errors import EngineError
from engines.gpu.reopen import ReopeningEngine
from engines.shared import EngineShare
from process.forks import Birthplace, refuse_to_pickle

LOG = logging.getLogger("edge.inspection.inspector")
HUNG_S = 3.0
_MS = 1e3
show_results_as(png_from_result)


class Inspector(AbstractContextManager["Inspector"]):
    """Judges frames; complete at birth, released by `close` or at the end of `with`.

    Any thread may call it; one at a time gets the engine, the others wait. It prints nothing and
    leaves signals and logging alone. It belongs to the process that loaded it: after a fork it
    gives ERROR in the child, and it cannot be pickled.

    Birth includes a self-test that warms the engine up: it must give the golden images the
    scores that they had when the bundle was built.

    Attributes:
        bundle: what it was loaded from.
        engine: runs the graph.
        engine_reason: which engine, and why not a better one.
        health: what makes a picture unfit to be judged; another may be set.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        settings: DecisionSettings,
        engine: str | Engine = AUTO,
        say: Callable[[str], None] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Open the engine and test it.

        Args:
            bundle: opened.
            settings: what can be changed without building again.
            engine: ``auto``, the name of one, or one that is open, such as a share of one; it is
                closed with the inspector, or at once if it fails the test.
            say: receives lines about what takes long.
            progress: told the share of a plan's compilation that is done.

        Raises:
            EngineError: the engine can't work here, or fails the self-test.
        """
        self.bundle = bundle
        self._settings = settings
        self.health = ImageChecks(bundle.manifest.health)
        self._image_stats = ImageStatsReader(bundle.manifest.size)
        self._lock = threading.Lock()  # an engine has one set of buffers
        self._starting = threading.Lock()
        self._setting = threading.Lock()
        self._birthplace = Birthplace()
        self._golden = GoldenImages(bundle)
        learnt = built_roi(bundle.manifest)
        self._learnt_roi = learnt.box if learnt is not None else None
        self._runners: list[DeadlineRunner] = []  # one, from the first deadline on
        self.engine, self.engine_reason = open_engine_of(bundle, engine, say=say, progress=progress)
        try:
            self._test_itself(self.engine)
        except BaseException:
            self.engine.close()
            raise
        self._test_engine_that_comes_back()
        unclosed = partial(
            close_unclosed, self.engine, self._runners, bundle.path, self._birthplace
        )
        self._unclosed = finalize(self, unclosed)
        self._unclosed.atexit = False

    @property
    def threshold(self) -> float:
        """The score from which a part is NG; setting it acts from the next inspection on.

        Each result says which one it had. Any thread may set it. The bundle stays as it is, and so
        do its other inspectors: `edge set BUNDLE --threshold` or `edge.change_settings` changes the
        bundle. It is kept as a float32.

        Raises:
            TypeError: set to something that is no number.
            ValueError: set to a number that is not finite.
        """
        return self._settings.threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        with self._setting:
            self._settings = replace(self._settings, threshold=threshold)

    @property
    def settings(self) -> DecisionSettings:
        """Threshold, smallest area, ignore mask, region of interest; act as `threshold` when set.

        ``inspector.settings = dataclasses.replace(inspector.settings, min_area=20)`` changes one of
        them. The bundle stays as it is.

        Raises:
            TypeError: set to something else.
            ValueError: set to what makes no sense with this bundle; nothing has changed then.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: DecisionSettings) -> None:
        check_settings(settings, self.bundle.manifest)
        with self._setting:
            self._settings = settings

    def inspect(self, image: ImageLike | None, *, deadline_ms: float | None = None) -> Result:
        """Judge one image.

        An image gets the score that its file would get in a stream. Nothing is copied that need
        not be: leave an array as it is for as long as its result is used.

        Args:
            image: of any size: an array, (H, W, 3) BGR as cv2.imread returns it, (H, W, 4) BGRA
                (alpha is dropped), (H, W) or (H, W, 1) grey, of uint8, or of uint16 with the
                bundle's bit depth; a tensor in the host's memory; a PIL image; the path of an
                image file, or the bytes of one; or a frame from a camera. None, which cv2.imread
                returns for what it cannot read, gives ERROR.
            deadline_ms: from the call to its result; then ERROR, whatever the engine does. None
                waits for as long as it takes. Reading a file counts, and is not cut short.

        Returns:
            The result. A frame without an image, a file that cannot be read, a picture that is
            black, burnt out, blurred or covered, an engine's failure, too little memory, a closed
            inspector and a process that was forked from the one that loaded it give ERROR: never
            OK, never an exception.

        Raises:
            TypeError: what is no image, or has values that may mean several things, such as
                floats; the message says how to convert it.
            ValueError: an array of another shape, an address, or a deadline that is not positive.
        """
        begun = time.perf_counter()
        frame = frame_from_image(image, bit_depth=self.bundle.manifest.bit_depth)
        if deadline_ms is None or self._birthplace.why_not_here():
            return self._inspect_frames([frame])[0]
        left_ms = deadline_ms
        if not isinstance(image, Frame):
            left_ms -= (time.perf_counter() - begun) * _MS
        if left_ms <= 0 < deadline_ms:
            reason = f"no answer within {deadline_ms:g} ms: it took longer to read the image"
            return error_from_frame(frame, threshold=self.threshold, reason=reason)
        return self._deadline_runner()(frame, deadline_ms=left_ms)

    def inspect_batch(self, images: Iterable[ImageLike | None]) -> list[Result]:
        """Judge several images, with as few calls of the engine as it takes.

        On a CPU every result is bit by bit that of `inspect`. A GPU's plan for several images at
        once may round otherwise than for one, as it does for cameras that share an engine.

        Args:
            images: as `inspect` takes them, in any number. The results keep them in memory: for
                a folder, or more than fit there, use `stream`.

        Returns:
            A result for each, in their order, `frame` counting from 0. One that cannot be judged,
            whatever it is, is an ERROR at its place alone.

        Raises:
            TypeError: one image was given, not several.
        """
        batches = frames_in_batches(images, bit_depth=self.bundle.manifest.bit_depth)
        return [result for frames in batches for result in self._inspect_frames(frames)]

    def stream(
        self, source: str | int | Path | Iterable[ImageLike | None]
    ) -> Generator[Result, None, None]:
        """Judge frames as they come; lazy: nothing is opened before the first is asked for.

        Args:
            source: what `cameras.connect.open_source` takes, such as a camera's address, a folder
                or a video; or any iterable of frames, or of images as `inspect` takes them. What
                cannot be judged is an ERROR at its place. A source that is opened here is closed
                here: at its end, when the generator is closed, or when nothing holds it any more.

        Raises:
            CameraError: the source cannot be opened, or fails for good.
            TypeError: one image was given, not several.
        """
        return stream_results(
            source, self.inspect, lambda: self.health, bit_depth=self.bundle.manifest.bit_depth
        )

    def check(self) -> None:
        """Test it as at birth, between two inspections: to be called now and then.

        Raises:
            EngineError: it is no longer what was built, and nothing that it says can be trusted;
                or this process was forked from the one that loaded it.
        """
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            raise EngineError(f"{self.bundle.path}: {elsewhere}")
        self._test_itself(self.engine)

    def warm_up(self, inspections: int = 5, *, within_ms: float | None = None) -> float:
        """Inspect the golden image until it is as quick as it will be.

        Args:
            inspections: so many in a row.
            within_ms: each of them within this time; ten times as many are tried.

        Returns:
            Milliseconds of the slowest of the last `inspections`.

        Raises:
            EngineError: they are not as quick as that, or it cannot inspect at all.
        """
        return warm_up(
            partial(self.inspect, self._golden.frame(self.settings)),
            inspections,
            within_ms=within_ms,
            where=self.bundle.path,
        )

    def close(self) -> None:
        """Release the engine, after an inspection that is under way; a second call does nothing.

        One that has hung for 3 s is abandoned, and the engine with it.
        """
        self._unclosed.detach()
        if self._birthplace.why_not_here():  # its threads and its engine are another process's
            return
        for runner in self._runners:
            runner.close()
        if not self._lock.acquire(timeout=HUNG_S):
            LOG.warning("%s: an inspection did not stop; abandoning its engine", self.bundle.path)
            return
        try:
            self.engine.close()
        finally:
            self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle(
            "an inspector",
            "pass the bundle's path, and edge.load it once in each process, such as in a pool's "
            "initializer",
        )

    def _deadline_runner(self) -> DeadlineRunner:
        """What keeps deadlines; its threads begin with the first of them."""
        here = ref(self)  # else its thread would keep an inspector that nobody closes
        with self._starting:
            if not self._runners:
                runner = DeadlineRunner(
                    lambda frame: _present(here()).inspect(frame),
                    deadline_ms=DEADLINE_MS,
                    threshold=self.threshold,
                )
                self._runners.append(runner)
            return self._runners[0]

    def _inspect_frames(self, frames: list[Frame]) -> list[Result]:
        """A result for each; never an exception."""
        settings = self._settings
        elsewhere = self._birthplace.why_not_here()

        def judge(pictures: list[tuple[Frame, Image]]) -> list[Result]:
            if elsewhere:
                raise EngineError(elsewhere)
            with self._lock:
                return judge_frames(
                    pictures,
                    engine=self.engine,
                    settings=settings,
                    checks=self.health,
                    stats=self._image_stats,
                    has_learnt_roi=self._learnt_roi is not None
                    and self._learnt_roi == settings.roi,
                )

        return judge_within_border(frames, judge, threshold=settings.threshold)

    def _test_engine_that_comes_back(self) -> None:
        """Have an engine that is opened again after its GPU was lost tested before it is used."""
        engine = self.engine.shared.engine if isinstance(self.engine, EngineShare) else self.engine
        if isinstance(engine, ReopeningEngine):
            # Without the lock: nobody else has the new engine yet, and who closes this inspector
            # holds the lock while it waits for the test.
            here = ref(self)
            engine.check_with(lambda opened: _present(here())._test(opened, opened.infer))

    def _test_itself(self, engine: Engine) -> None:
        """Test the engine that is at work, between two inspections."""

        def infer(images: Images) -> tuple[Output, ...]:
            with self._lock:
                return engine.infer(images)

        self._test(engine, infer)

    def _test(self, engine: Engine, infer: Callable[[Images], tuple[Output, ...]]) -> None:
        """See that the engine gives the build's scores, and that all around it is right.

        Raises:
            EngineError: it is not, or the engine cannot run.
        """
        manifest = self.bundle.manifest
        check_preparation(fit_image, size=manifest.size, roi=self._settings.roi)
        check_decision(decide, settings=self._settings, manifest=manifest)
        who = f"{self.bundle.path}: {engine.name}"
        check_scores(self._golden.read, infer, manifest=manifest, who=who)


def _present(inspector: Inspector | None) -> Inspector:
    if inspector is None:
        raise EngineError("the inspector is gone; close it before it is forgotten")
    return inspector


def load(
    path: str | Path,
    *,
    engine: str = AUTO,
    threshold: float | None = None,
    min_area: int | None = None,
    ignore: IgnoreMask | Nothing | None = None,
    roi: Roi | Nothing | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Inspector:
    """Load a bundle, ready to inspect.

    Args:
        path: the bundle's folder, ``NAME.edge``.
        engine: ``auto`` or the name of one.
        threshold: in place of the bundle's own.
        min_area: smallest region in pixels of the frame, in place of the bundle's own.
        ignore: (H, W) uint8, white where nothing counts, or ``"none"``; in place of the bundle's.
        roi: (x, y, width, height) in pixels of the frame that is inspected, or ``"none"`` for all
            of it; in place of the bundle's own.
        say: receives lines about what takes long, such as why a plan is compiled again.
        progress: told the share of a plan's compilation that is done.

    Raises:
        BundleError: the bundle is missing or damaged.
        EngineError: the engine can't work here, or fails the self-test.
        ValueError: a threshold, area or mask that makes no sense.
    """
    bundle = Bundle.open(path)
    settings = settings_from_bundle(
        bundle, threshold=threshold, min_area=min_area, ignore=ignore, roi=roi
    )
    return Inspector(bundle, settings=settings, engine=engine, say=say, progress=progress)
