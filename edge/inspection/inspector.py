"""An inspector: a bundle, an engine, and the rules that make a verdict."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from calibrate.images import fit_image
from cameras.connect import open_source
from cameras.frame import Frame
from cameras.source import frame_now
from edge import console
from edge.given import GivenSettings
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.health.measurements import ImageStatsReader
from edge.inspection.deadline import DeadlineRunner
from edge.inspection.failure_reason import reason_from_failure
from edge.inspection.ignore_mask import IgnoreMask, Nothing
from edge.inspection.judge import judge_frame
from edge.inspection.self_test import (
    GoldenImages,
    check_decision,
    check_preparation,
    check_scores,
)
from edge.inspection.settings import settings_from_bundle, settings_in_use
from edge.inspection.verdict import DecisionSettings, decide
from edge.options import DEADLINE_MS
from edge.result import Result, Roi, error_from_frame
from engines.bundle import Bundle
from engines.changes import built_roi
from engines.choose import AUTO, choose_engine, open_engine
from engines.engine import Engine, EngineOptions, Images, Output
from engines.errors import EngineError
from engines.gpu.reopen import ReopeningEngine
from engines.shared import EngineShare
from process.forks import Birthplace

LOG = logging.getLogger("edge.inspection.inspector")
HUNG_S = 3.0


class Inspector(AbstractContextManager["Inspector"]):
    """Judges frames; complete at birth, released by `close` or at the end of `with`.

    Any thread may call it; one at a time gets the engine, the others wait. It prints nothing and
    leaves signals and logging alone.

    Birth includes a self-test that warms the engine up: it must give the golden images the
    scores that they had when the bundle was built.

    Attributes:
        bundle: what it was loaded from.
        engine: runs the graph.
        engine_reason: which engine, and why not a better one.
        settings: threshold, smallest area, ignore mask, region of interest.
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
        self.settings = settings
        self.health = ImageChecks(bundle.manifest.health)
        self._image_stats = ImageStatsReader(bundle.manifest.size)
        self._lock = threading.Lock()  # an engine has one set of buffers
        self._starting = threading.Lock()
        self._birthplace = Birthplace()
        self._golden = GoldenImages(bundle)
        learnt = built_roi(bundle.manifest)
        self._learnt_roi = learnt.box if learnt is not None else None
        self._runner: DeadlineRunner | None = None
        self.engine: Engine
        if isinstance(engine, str):
            chosen = choose_engine(engine)
            why = chosen.reason
            self.engine = open_engine(
                bundle.model(),
                engine=chosen.address,
                options=EngineOptions(
                    bundle.manifest.precision,
                    bundle.plans,
                    say=say,
                    progress=progress,
                    batch=bundle.manifest.max_batch,
                ),
            )
        else:
            self.engine = engine
            why = engine.shared.why if isinstance(engine, EngineShare) else ""
        self.engine_reason = _engine_reason(
            bundle, self.engine, why or f"{self.engine.name}: it was given"
        )
        try:
            self._test_itself(self.engine)
        except BaseException:
            self.engine.close()
            raise
        self._test_engine_that_comes_back()

    def inspect(
        self, image: npt.NDArray[np.uint8] | Frame, *, deadline_ms: float | None = None
    ) -> Result:
        """Judge one image.

        Args:
            image: (H, W, 3) uint8 BGR of any size, or a frame from a camera.
            deadline_ms: from the call to its result; then ERROR, whatever the engine does. None
                waits for as long as it takes.

        Returns:
            The result. A frame without an image, an image of a wrong shape or type, one that is
            black, burnt out, blurred or covered, an engine's failure, too little memory and a
            process that was forked from the one that loaded it give ERROR: never OK, never an
            exception.

        Raises:
            ValueError: a deadline that is not positive.
        """
        frame = image if isinstance(image, Frame) else frame_now("image", 0, image)
        elsewhere = self._birthplace.why_not_here()
        if elsewhere:
            return error_from_frame(frame, threshold=self.settings.threshold, reason=elsewhere)
        if deadline_ms is not None:
            return self._deadline_runner()(frame, deadline_ms=deadline_ms)
        picture = frame.image
        if picture is None:
            return error_from_frame(frame, threshold=self.settings.threshold)
        problem = invalid_image_reason(picture)
        if problem:
            return error_from_frame(frame, threshold=self.settings.threshold, reason=problem)
        try:
            with self._lock:
                return self._judge(frame, picture)
        except Exception as error:  # noqa: BLE001  # the border: an ERROR of this part alone
            reason = reason_from_failure("an inspection", error)
            return error_from_frame(frame, threshold=self.settings.threshold, reason=reason)

    def stream(
        self, source: str | int | Path | Iterable[Frame] | Iterable[npt.NDArray[np.uint8]]
    ) -> Iterator[Result]:
        """Judge frames as they come; lazy.

        Args:
            source: what `cameras.connect.open_source` takes, or any iterable of frames or
                images. A source that is opened here is closed here.
        """
        if isinstance(source, str | int | Path):
            with open_source(source, bit_depth=self.bundle.manifest.bit_depth) as opened:
                inspect: Callable[[Frame], Result] = self.inspect
                if opened.live:
                    inspect = FrameChecker(lambda: self.health, opened).guard(self.inspect)
                yield from (inspect(frame) for frame in opened)
            return
        for index, item in enumerate(source):
            frame = item if isinstance(item, Frame) else frame_now("image", index, cast(Any, item))
            yield self.inspect(frame)

    def check(self) -> None:
        """Test it as at birth, between two inspections: to be called now and then.

        Raises:
            EngineError: it is no longer what was built; nothing that it says can be trusted.
        """
        self._test_itself(self.engine)

    def warm_up(self, inspections: int = 5, *, within_ms: float | None = None) -> float:
        """Inspect the golden image until it is as quick as it will be.

        Args:
            inspections: so many in a row.
            within_ms: each of them within this time; ten times as many are tried.

        Returns:
            Milliseconds of the slowest of the last `inspections`.

        Raises:
            EngineError: they are not as quick as that.
        """
        image = self._golden.frame(self.settings)
        latest: deque[float] = deque(maxlen=inspections)
        for _ in range(10 * inspections):
            begun = time.perf_counter()
            self.inspect(image)
            latest.append((time.perf_counter() - begun) * 1e3)
            if len(latest) == inspections and (within_ms is None or max(latest) <= within_ms):
                return max(latest)
        raise EngineError(
            f"{self.bundle.path}: an inspection takes up to {max(latest):.1f} ms here, longer than "
            f"{within_ms:g} ms; give it longer, or build for a smaller size or lower precision"
        )

    def close(self) -> None:
        """Release the engine, after an inspection that is under way; a second call does nothing.

        One that has hung for 3 s is abandoned, and the engine with it.
        """
        if self._birthplace.why_not_here():  # its threads and its engine are another process's
            return
        if self._runner is not None:
            self._runner.close()
        if not self._lock.acquire(timeout=HUNG_S):
            LOG.warning("%s: an inspection did not stop; abandoning its engine", self.bundle.path)
            return
        try:
            self.engine.close()
        finally:
            self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline_runner(self) -> DeadlineRunner:
        """What keeps deadlines; its threads begin with the first of them."""
        with self._starting:
            if self._runner is None:
                threshold = self.settings.threshold
                self._runner = DeadlineRunner(
                    self.inspect, deadline_ms=DEADLINE_MS, threshold=threshold
                )
            return self._runner

    def _judge(self, frame: Frame, picture: npt.NDArray[np.uint8]) -> Result:
        return judge_frame(
            frame,
            picture,
            engine=self.engine,
            settings=self.settings,
            checks=self.health,
            stats=self._image_stats,
            has_learnt_roi=self._learnt_roi is not None and self._learnt_roi == self.settings.roi,
        )

    def _test_engine_that_comes_back(self) -> None:
        """Have an engine that is opened again after its GPU was lost tested before it is used."""
        engine = self.engine.shared.engine if isinstance(self.engine, EngineShare) else self.engine
        if isinstance(engine, ReopeningEngine):
            # Without the lock: nobody else has the new engine yet, and who closes this inspector
            # holds the lock while it waits for the test.
            engine.check_with(lambda opened: self._test(opened, opened.infer))

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
        check_preparation(fit_image, size=manifest.size, roi=self.settings.roi)
        check_decision(decide, settings=self.settings, manifest=manifest)
        who = f"{self.bundle.path}: {engine.name}"
        check_scores(self._golden.read, infer, manifest=manifest, who=who)


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


def load_with_progress(
    path: Path, *, engine: str = AUTO, given: GivenSettings | None = None
) -> Inspector:
    """Load a bundle in a command, as `load`: with a bar while a plan is compiled."""
    bundle = Bundle.open(path)
    settings = settings_in_use(bundle, given or GivenSettings(), say=console.say)
    with console.late_bar("compiling the plan") as progress:
        return Inspector(
            bundle, settings=settings, engine=engine, say=console.say, progress=progress
        )


def _engine_reason(bundle: Bundle, engine: Engine, reason: str) -> str:
    """Why it is this engine, and what that means for the threshold."""
    deployed = bundle.manifest.deployed_engine
    if engine.name == deployed:
        return reason
    return (
        f"{reason}; the threshold was set by {deployed}, whose scores differ a little: build "
        "again here to be exact"
    )


def invalid_image_reason(picture: npt.NDArray[np.uint8]) -> str:
    """Why an array is no picture, or an empty string."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        return f"a picture of type {getattr(picture, 'dtype', type(picture).__name__)}; give uint8"
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        return f"a picture of shape {picture.shape}; give (height, width, 3), BGR"
    return ""
