"""What the bridges that listen share: a loop in a thread, and why an address cannot be had."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from edge.plc.station.snapshot import StationError
from process.threads import GuardedThread

Awaited = TypeVar("Awaited")


class LoopThread(AbstractContextManager["LoopThread"]):
    """An event loop in a thread of its own, until it is closed.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._ended = asyncio.Event()
        running: Future[asyncio.AbstractEventLoop] = Future()

        def fail(error: BaseException) -> None:
            if not running.done():
                running.set_exception(error)

        # What listens in a loop cannot go on in another one.
        self._thread = GuardedThread(
            lambda: asyncio.run(self._run(running)), name=name, on_failure=fail, goes_on=False
        )
        self._thread.start()
        self._loop = running.result()

    def call(self, work: Coroutine[Any, Any, Awaited]) -> Awaited:
        """Run a coroutine in the loop and return its result; what it raises is raised here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the loop with whatever runs in it; a second call does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _run(self, running: Future[asyncio.AbstractEventLoop]) -> None:
        running.set_result(asyncio.get_running_loop())
        await self._ended.wait()


def error_of_address(bridge: str, host: str, port: int, error: OSError) -> StationError:
    """Return the error that says why an address cannot be had, and what helps."""
    # The system's words: asyncio's repeat the address. Those of a name have no positive number.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or str(error)
    helps = f"see who has it with: ss -ltnp, or take another {bridge}.port"
    if isinstance(error, PermissionError):
        helps = "take a port from 1024 up, or allow it with setcap cap_net_bind_service"
    return StationError(f"{bridge}: cannot listen on {host}:{port}: {reason}; {helps}")
