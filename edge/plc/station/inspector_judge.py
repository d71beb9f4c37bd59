"""Inspects parts with bundles, in pictures from a camera or from files."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from cameras.connect import open_source
from cameras.errors import CameraError
from cameras.frame import Frame
from cameras.source import Source, frame_now
from edge.health.checks import ImageChecks, check_from_reason
from edge.inspection.hot_swap import REFUSALS, HotSwapInspector
from edge.inspection.inspector import Inspector
from edge.inspection.judge import invalid_image_reason
from edge.inspection.settings import settings_in_use
from edge.inspection.upkeep import Upkeep
from edge.plc.station.messages import Answer, Job, JudgeOptions, Recipe, SourceTrouble
from edge.plc.station.snapshot import DefectBox, ErrorCode, ResultEvaluation
from edge.plc.station.worker import RecipeError
from edge.result import Result, Verdict
from edge.service.input_watch import InputWatch
from edge.stream.picture_taker import NoMorePicturesError, PictureTaker
from engines.bundle import Bundle
from engines.errors import BundleError, EngineError
from engines.manifest_file import MANIFEST, read_manifest

LOG = logging.getLogger("edge.plc.station.inspector_judge")
EVALUATIONS = MappingProxyType(
    {
        Verdict.OK: ResultEvaluation.OK,
        Verdict.NG: ResultEvaluation.NOT_OK,
        Verdict.ERROR: ResultEvaluation.NOT_DECIDABLE,
    }
)


class _TooSlowError(EngineError):
    """An inspector does not keep the deadline."""


class InspectorJudge:
    """Loads a bundle for each recipe; the next inspector is open before the last is closed.

    Args:
        options: bundles, source, engine.
        grab: takes the picture for a job, in place of `options.source`.
        on_swap: told the recipe before the first answer of a bundle that was made anew.

    Attributes:
        on_judged: given the number and the result of each part before its answer is.
    """

    def __init__(
        self,
        options: JudgeOptions,
        *,
        grab: Callable[[Job], Frame] | None = None,
        on_swap: Callable[[Recipe], object] = lambda _: None,
    ) -> None:
        self._options = options
        self._on_swap = on_swap
        self.on_judged: Callable[[int, Result], object] = lambda _seq, _result: None
        self._told: tuple[int, Inspector] | None = None  # the recipe that the station knows
        self._inspector: HotSwapInspector | None = None
        self._upkeep = Upkeep(self_test_s=options.self_test_s, watch_bundles=options.watch_bundles)
        self._camera: PictureTaker | None = None
        self._grab = grab
        self._watch: InputWatch | None = None
        self._bit_depth: int | None = None

    def load(self, recipe_id: int, progress: Callable[[float], None] | None = None) -> Recipe:
        """Open the camera if it is not yet open, then the bundle; see `PartInspector.load`."""
        path = self._options.recipes.get(recipe_id)
        if path is None:
            raise RecipeError(f"recipe {recipe_id}: unknown", code=ErrorCode.UNKNOWN_RECIPE)
        self._ensure_camera(path)
        try:
            open_it = partial(self._open_inspector, recipe_id, progress)
            inspector = self._swap_in(open_it, Path(path))
        except _TooSlowError as error:
            raise RecipeError(f"recipe {recipe_id}: {error}", code=ErrorCode.TOO_SLOW) from error
        except REFUSALS as error:
            raise RecipeError(f"recipe {recipe_id}: {error}") from error
        self._told = recipe_id, inspector
        return self._recipe(recipe_id, inspector)

    def inspect(self, job: Job) -> Answer:
        """Take a picture that is younger than the trigger, and judge it."""
        if self._inspector is None:
            return _undecided_answer(job, ErrorCode.ENGINE, "no recipe is loaded")
        try:
            frame = self._take_picture(job)
        except CameraError as error:
            return _undecided_answer(job, ErrorCode.NO_PICTURE, str(error))
        begun = time.monotonic_ns()
        result = self._inspector.inspect(frame)
        process_us = (time.monotonic_ns() - begun) // 1000
        self._tell_swap()
        troubles: list[str] = []
        if self._watch is not None:
            result = self._watch.add(frame, result)
            troubles = self._watch.troubles
        self.on_judged(job.seq, result)
        answer = answer_from_result(job, frame, result, process_us=process_us)
        return replace(answer, trouble="; ".join(troubles))

    @property
    def state(self) -> SourceTrouble:
        """What is wrong with the source although it works. Any thread may ask."""
        camera = self._camera
        return SourceTrouble("" if camera is None else camera.trouble)

    def close(self) -> None:
        """Release camera and inspector."""
        self._upkeep.close()
        if self._camera is not None:
            self._camera.close()
            self._camera = None
        if self._inspector is not None:
            self._inspector.close()
            self._inspector = None

    def _recipe(self, recipe_id: int, inspector: Inspector) -> Recipe:
        return Recipe(
            recipe_id,
            model_hash=inspector.bundle.manifest.files["model.onnx"].sha256,
            threshold=inspector.settings.threshold,
            simulated=self._camera is not None and not self._camera.live,
        )

    def _tell_swap(self) -> None:
        """Tell of another inspector that has judged: its bundle was made anew."""
        judged = None if self._inspector is None else self._inspector.judged
        if self._told is not None and judged is not None and judged is not self._told[1]:
            self._told = self._told[0], judged
            self._on_swap(self._recipe(*self._told))

    def _open_inspector(
        self, recipe_id: int, progress: Callable[[float], None] | None
    ) -> Inspector:
        """An inspector that keeps the deadline."""
        bundle = Bundle.open(self._options.recipes[recipe_id])
        settings = settings_in_use(bundle, self._options.given_for(recipe_id), say=LOG.warning)
        inspector = Inspector(
            bundle,
            settings=settings,
            engine=self._options.engine,
            say=LOG.info,
            progress=progress,
        )
        try:
            inspector.warm_up(self._options.warm_up, within_ms=self._options.deadline_ms)
        except EngineError as error:
            inspector.close()
            raise _TooSlowError(str(error)) from error
        return inspector

    def _swap_in(self, open_it: Callable[[], Inspector], bundle: Path) -> Inspector:
        """Let an inspector take over from the one before, if there is one."""
        if self._inspector is not None:
            self._inspector.swap(open_it)
            self._upkeep.watch(self._inspector, bundle)
        else:
            self._inspector = HotSwapInspector(open_it, name="station")
            self._watch = InputWatch("station", self._inspector, running=self._options.free)
            self._upkeep.add(self._inspector, bundle=bundle)
            self._upkeep.__enter__()
        return self._inspector.inspector

    def _take_picture(self, job: Job) -> Frame:
        """The first picture after the trigger, or the next file's.

        Raises:
            CameraError: the camera has failed; it is being opened again.
        """
        if self._grab is not None:
            return self._grab(job)
        if self._camera is None:
            raise CameraError("no camera is open; load a recipe first")
        try:
            return self._camera.request(job.triggered_ns).result()
        except NoMorePicturesError:
            self._camera.close()
            self._camera = self._open_pictures()
        try:
            return self._camera.request(job.triggered_ns).result()
        except NoMorePicturesError:
            return frame_now(self._options.source, 0, None, "there is no picture in it")

    def _health(self) -> ImageChecks:
        """Of the inspector at work."""
        return ImageChecks(None) if self._inspector is None else self._inspector.health

    def _ensure_camera(self, path: str) -> None:
        """Open the source, anew where the recipe's files have another bit depth."""
        if self._grab is not None:
            return
        bit_depth = self._options.bit_depth or _bit_depth_of(path)
        if self._camera is not None:
            if bit_depth == self._bit_depth:
                return
            self._camera.close()
            self._camera = None
        self._bit_depth = bit_depth
        try:
            self._camera = self._open_pictures()
        except (CameraError, ValueError) as error:
            raise RecipeError(str(error), code=ErrorCode.NO_PICTURE) from error

    def _open_pictures(self) -> PictureTaker:
        return PictureTaker(
            self._open_source(),
            self._health,
            settle_ms=self._options.settle_ms,
            reopen=self._open_source,
        )

    def _open_source(self) -> Source:
        return open_source(
            self._options.source,
            stall_after=self._options.stall_after_s,
            bit_depth=self._bit_depth,
        )


def _bit_depth_of(path: str) -> int | None:
    """Of a bundle's good images; what is wrong with the bundle is told where it is opened."""
    try:
        return read_manifest(Path(path) / MANIFEST).bit_depth
    except BundleError:
        return None


def answer_from_result(job: Job, frame: Frame, result: Result, *, process_us: int) -> Answer:
    """What an inspector's result says to a station.

    Args:
        job: what was asked.
        frame: what was inspected.
        result: what came of it.
        process_us: microseconds that it took.
    """
    error = ErrorCode.NONE
    if result.verdict is Verdict.ERROR:
        error = ErrorCode.ENGINE
        if check_from_reason(result.reason):
            error = ErrorCode.BAD_PICTURE
        elif frame.image is None:
            error = ErrorCode.NO_PICTURE
        elif invalid_image_reason(frame.image):
            error = ErrorCode.BAD_PICTURE
    worst = result.regions[0] if result.regions else None
    return Answer(
        seq=job.seq,
        evaluation=EVALUATIONS[result.verdict],
        error=error,
        reason=" ".join(result.reason.split()),
        score=result.score,
        defects=len(result.regions),
        worst=DefectBox(worst.x, worst.y, worst.width, worst.height) if worst else DefectBox(),
        acquired_at_ns=frame.captured_at_ns if frame.image is not None else 0,
        acquire_us=max(0, frame.monotonic_ns - job.triggered_ns) // 1000,
        process_us=process_us,
        drift=result.drift,
    )


def _undecided_answer(job: Job, error: ErrorCode, reason: str) -> Answer:
    return Answer(job.seq, ResultEvaluation.NOT_DECIDABLE, error, " ".join(reason.split()))
