"""An inspector in an event loop: nothing blocks it, and whoever is cancelled leaves nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.inspection.async_inspector import AsyncInspector
from edge.inspection.inspector import load
from edge.result import Verdict


@pytest.fixture
def opened(built: Path) -> Callable[[], Any]:
    @asynccontextmanager
    async def open_it() -> AsyncIterator[AsyncInspector]:
        loaded = await asyncio.to_thread(load, built, engine="onnxruntime")
        async with AsyncInspector(loaded) as inspector:
            yield inspector

    return open_it


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run it, and see that no thread of ours is left."""
    asyncio.run(asyncio.wait_for(work, 30))
    deadline = time.monotonic() + 10
    while left := [one.name for one in threading.enumerate() if one.name.startswith("edge-async")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.005)


def test_results_are_those_of_the_inspector(opened, good_image, spoilt_image, drawn) -> None:
    async def work() -> None:
        async with opened() as inspector:
            images = [good_image, spoilt_image, None, spoilt_image[..., 0]]
            found = await asyncio.gather(*(inspector.inspect(one) for one in images))
            expected = [inspector.inspector.inspect(one) for one in images]
            assert [one.score for one in found] == [one.score for one in expected]
            assert found[2].verdict is Verdict.ERROR
            with pytest.raises(TypeError, match="whether white is 1 or 255"):
                await inspector.inspect(good_image / 255)
            names = [one.source async for one in inspector.stream(drawn / "test" / "good")]
            assert [Path(name).name for name in names] == [f"00{n}.png" for n in range(4)]
            with pytest.raises(TypeError, match="one image, not several"):
                await anext(inspector.stream(good_image))

    run(work())


def test_the_loop_goes_on_while_an_engine_hangs(opened, good_image, monkeypatch) -> None:
    hung, begun = threading.Event(), threading.Event()

    async def work() -> None:
        async with opened() as inspector:
            infer = inspector.inspector.engine.infer

            def hang(images: np.ndarray) -> Any:
                begun.set()
                assert hung.wait(20)
                return infer(images)

            monkeypatch.setattr(inspector.inspector.engine, "infer", hang)
            first = asyncio.create_task(inspector.inspect(good_image))
            while not begun.is_set():
                await asyncio.sleep(0.001)
            late = await inspector.inspect(good_image, deadline_ms=30)
            assert (late.verdict, late.score) == (Verdict.ERROR, None)
            assert "no answer within 30 ms" in late.reason
            cancelled = asyncio.create_task(inspector.inspect(good_image))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert not first.done()
            hung.set()
            assert (await first).verdict is Verdict.OK
            assert (await inspector.inspect(good_image)).verdict is Verdict.OK

    run(work())


def test_a_stream_that_is_left_releases_its_source(opened, tmp_path) -> None:
    """Also one in which nothing comes, as when a host stands still."""

    async def work() -> None:
        async with opened() as inspector:
            async with aclosing(inspector.stream(f"watch:{tmp_path}")) as results:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(anext(results), 0.1)
            waiting = asyncio.create_task(anext(inspector.stream(f"watch:{tmp_path}")))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(work())


def test_a_closed_one_says_so(opened, good_image) -> None:
    async def work() -> None:
        async with opened() as inspector:
            pass
        await inspector.close()
        result = await inspector.inspect(good_image)
        assert (result.verdict, result.reason) == (
            Verdict.ERROR,
            "the inspector is closed; load it again",
        )
        results = [one async for one in inspector.stream([good_image])]
        assert [one.verdict for one in results] == [Verdict.ERROR]

    run(work())


def test_one_that_nobody_closed_is_told(built) -> None:
    with pytest.warns(ResourceWarning, match="left unclosed; use `with edge.load"):
        AsyncInspector(load(built, engine="onnxruntime"))  # and it is gone
    run(asyncio.sleep(0))
