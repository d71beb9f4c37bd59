"""An inspector for asyncio: the event loop goes on while a part is read and inspected."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from weakref import finalize

from cameras.frame import Frame
from cameras.source import Source, frame_now
from edge.inspection.given_image import ImageLike
from edge.inspection.inspector import Inspector
from edge.inspection.streaming import stream_results
from edge.result import Result, error_from_frame
from engines.errors import EngineError
from process.forks import Birthplace, refuse_to_pickle
from process.threads import GuardedThread

AnswerT = TypeVar("AnswerT")
_MS = 1e3
_CLOSED = "the inspector is closed; load it again"


class AsyncInspector(AbstractAsyncContextManager["AsyncInspector"]):
    """Judges images without blocking the event loop; closes its inspector.

    Use it by ``async with edge.AsyncInspector(loaded) as inspector``. Loading takes seconds:
    docs/python.md shows how the loop goes on meanwhile. Images are read and inspected in a thread,
    one after the other. Whoever is cancelled stops waiting: what has not begun is not done, and
    what is under way ends without anybody seeing it.

    Args:
        inspector: loaded; closed with this object.

    Attributes:
        inspector: the same, whose threshold and settings may be set.
    """

    def __init__(self, inspector: Inspector) -> None:
        self.inspector = inspector
        self._worker = _OrderedThread("edge-async")

    async def inspect(self, image: ImageLike | None, *, deadline_ms: float | None = None) -> Result:
        """Judge one image; see `Inspector.inspect`.

        Args:
            image: as there; it must stay as it is until the result is there.
            deadline_ms: from the call to its result, waiting for others included; then ERROR.

        Raises:
            TypeError, ValueError: as `Inspector.inspect`.
        """
        if deadline_ms is not None and not deadline_ms > 0:
            raise ValueError(f"deadline {deadline_ms} ms: must be positive")
        try:
            answer = self._worker.order(partial(self.inspector.inspect, image))
        except EngineError as error:
            return self._error(image, str(error))
        within_s = None if deadline_ms is None else deadline_ms / _MS
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), within_s)
        except asyncio.TimeoutError:  # another class before Python 3.11
            reason = f"no answer within {deadline_ms:g} ms; raise deadline_ms, or send fewer"
            return self._error(image, reason)

    async def stream(
        self, source: str | int | Path | Iterable[ImageLike | None]
    ) -> AsyncGenerator[Result, None]:
        """Judge frames as they come, in a thread of their own; see `Inspector.stream`.

        Use ``async with contextlib.aclosing(inspector.stream(source)) as results`` where the loop
        may be left before its end: a camera is released then, and not some time later.

        Args:
            source: as there.

        Raises:
            CameraError: the source cannot be opened, or fails for good.
            EngineError: the inspector is closed.
            TypeError: one image was given, not several.
        """
        closing = _ClosingSource()
        results = stream_results(
            source,
            self.inspector.inspect,
            lambda: self.inspector.health,
            bit_depth=self.inspector.bundle.manifest.bit_depth,
            on_open=closing.opened,
        )
        worker = _OrderedThread("edge-async-stream")
        try:
            while (result := await worker.do(partial(next, results, None))) is not None:
                yield result
        finally:
            closing.begin()
            worker.order(results.close)
            worker.end()

    async def close(self) -> None:
        """Release the engine after an inspection that is under way; a second call does nothing."""
        self._worker.end()
        closer = _OrderedThread("edge-async-close")
        try:
            await closer.do(self.inspector.close)
        finally:
            closer.end()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __reduce__(self) -> NoReturn:
        refuse_to_pickle("an inspector", "load it once in each process")

    def _error(self, image: object, reason: str) -> Result:
        frame = image if isinstance(image, Frame) else frame_now("image", 0, None)
        return error_from_frame(frame, threshold=self.inspector.threshold, reason=reason)


class _OrderedThread:
    """A thread that does what it is told, one after the other; a daemon, for engines may hang."""

    def __init__(self, name: str) -> None:
        self._birthplace = Birthplace()
        self._is_over = False
        self._orders: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._orders = queue.SimpleQueue()
        GuardedThread(partial(_work_off, self._orders), name=name).start()
        finalize(self, self._orders.put, None).atexit = False

    def order(self, call: Callable[[], AnswerT]) -> Future[AnswerT]:
        """Have something done.

        Raises:
            EngineError: the thread has ended, or is another process's.
        """
        elsewhere = self._birthplace.why_not_here()
        if elsewhere or self._is_over:
            raise EngineError(elsewhere or _CLOSED)
        future: Future[AnswerT] = Future()
        self._orders.put((future, call))
        return future

    async def do(self, call: Callable[[], AnswerT]) -> AnswerT:
        """Have something done, and wait for it."""
        return await asyncio.wrap_future(self.order(call))

    def end(self) -> None:
        """End the thread, after what was ordered."""
        self._is_over = True
        self._orders.put(None)


def _work_off(
    orders: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None],
) -> None:
    while (order := orders.get()) is not None:
        future, call = order
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  # told to whoever waits
                future.set_exception(error)
        # The next order may be long in coming, and these keep an image.
        del order, future, call


class _ClosingSource:
    """Closes a source from outside the thread that waits for its next frame."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._begun = False

    def opened(self, source: Source) -> None:
        """Told by the thread that opened it."""
        self._sources.append(source)
        if self._begun:
            source.close()

    def begin(self) -> None:
        """Close it, in a thread: a camera may take seconds to let go."""
        self._begun = True
        for source in self._sources:
            GuardedThread(source.close, name="edge-async-close").start()
