"""Several cameras on one engine: rate and age against the bare engine, in turns in the same run.

Run with `just benchmark`; on a machine that does nothing else.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from in_flight import infer_each

from calibrate.images import fit_image
from cameras.connect import open_source
from cameras.frame import Frame
from cameras.source import Source
from edge.inspection.engine_pool import EnginePool
from edge.inspection.inspector import Inspector, load
from edge.result import Inspect, Result, Verdict
from edge.stream.loop import Camera, stream, stream_cameras
from edge.stream.run import open_judge
from engines.bundle import Bundle
from engines.engine import Engine, Images

pytestmark = [pytest.mark.benchmark, pytest.mark.realdata]

CAMERAS = 4
RATE_HZ = 30.0
TURNS = 3
SECONDS = 10.0
SETTLED_S = 2.0


def bare_rate_hz(engine: Engine, image: Images, seconds: float = 3.0) -> float:
    """What the engine alone gives, with all its slots in use."""
    begun = time.perf_counter()

    def images() -> Iterator[Images]:
        while time.perf_counter() - begun < seconds:
            yield image

    return sum(1 for _ in infer_each(engine, images())) / (time.perf_counter() - begun)


@pytest.fixture(scope="module")
def int8(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the bundled backbone in INT8, for bottles."""
    from edge.building.build import build
    from edge.options import BuildOptions

    folder = tmp_path_factory.mktemp("int8")
    options = BuildOptions(precision="int8", engine="openvino")
    return build(realdata / "bottle", folder / "part.edge", options=options).bundle.path


@pytest.fixture(scope="module")
def addresses() -> Iterator[list[str]]:
    """Four RTSP cameras of 640 x 480 at 30 fps, in processes of their own."""
    import servers

    with contextlib.ExitStack() as stack:
        cameras = [
            stack.enter_context(servers.CameraProcess("rtsp", rate_hz=RATE_HZ))
            for _ in range(CAMERAS)
        ]
        for camera in cameras:
            camera.order("640x480")
        yield [camera.address for camera in cameras]


@contextlib.contextmanager
def drained(addresses: list[str]) -> Iterator[None]:
    """The cameras at work, captured, decoded and not inspected: the machine has that to do too."""
    stop = threading.Event()

    def drain(address: str) -> None:
        with open_source(address) as source:
            for _ in source:
                if stop.is_set():
                    return

    threads = [threading.Thread(target=drain, args=(address,)) for address in addresses]
    for thread in threads:
        thread.start()
    time.sleep(2.0)
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass
class Seen:
    """Each camera's results from when all give them: monotonic time and age, both in s."""

    cameras: dict[str, list[tuple[float, float]]]
    errors: int = 0

    def settled(self) -> list[list[tuple[float, float]]]:
        """Of each camera, without what came while cameras were being opened."""
        began = max(results[0][0] for results in self.cameras.values()) + SETTLED_S
        return [[one for one in results if one[0] >= began] for results in self.cameras.values()]

    @property
    def rates_hz(self) -> list[float]:
        each = self.settled()
        first, last = min(one[0][0] for one in each), max(one[-1][0] for one in each)
        return [len(one) / (last - first) for one in each]

    @property
    def ages_ms(self) -> list[float]:
        return [age * 1e3 for one in self.settled() for _, age in one]


@contextlib.contextmanager
def opened(address: str, inspector: Inspector) -> Iterator[tuple[Source, Inspect]]:
    with open_source(address) as source, open_judge(inspector, source) as inspect:
        yield source, inspect


def streamed(inspectors: list[Inspector], addresses: list[str]) -> Seen:
    stop = threading.Event()
    names = [f"camera{number}" for number in range(len(addresses))]
    seen = Seen({name: [] for name in names})

    def see(name: str, frame: Frame, result: Result) -> None:
        now = time.monotonic()
        seen.cameras[name].append((now, now - frame.monotonic_ns / 1e9))
        seen.errors += result.verdict is Verdict.ERROR

    cameras = [
        Camera(
            name=name,
            open=partial(opened, address, inspector),
            threshold=inspector.settings.threshold,
            live=True,
            on_result=partial(see, name),
        )
        for name, address, inspector in zip(names, addresses, inspectors, strict=True)
    ]
    ending = threading.Timer(SETTLED_S + SECONDS, stop.set)
    ending.start()
    stream_cameras(cameras, stop=stop)
    return seen


def test_four_cameras_against_the_bare_engine(
    int8: Path, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tell: Callable[[str], None] = lambda line: print(f"\n{line}")  # noqa: E731
    pool = EnginePool()
    with contextlib.ExitStack() as stack:
        inspectors = [
            stack.enter_context(pool.inspector(Bundle.open(int8))) for _ in range(CAMERAS)
        ]
        for inspector in inspectors:  # their pictures are none that the bundle has learnt
            signs = ("black", "saturated", "blurred", "occluded", "size")
            inspector.health = inspector.health.without(*signs)
        engine = inspectors[0].engine.shared.engine  # type: ignore[attr-defined]
        picture = np.full((480, 640, 3), 90, np.uint8)
        fitted = fit_image(picture, inspectors[0].bundle.manifest.size)[None]
        bare_rate_hz(engine, fitted, 1.0)
        ratios, runs = [], []
        for _ in range(TURNS):
            with drained(addresses):
                before = bare_rate_hz(engine, fitted)
            runs.append(streamed(inspectors, addresses))
            with drained(addresses):
                limit = (before + bare_rate_hz(engine, fitted)) / 2
            ratios.append(sum(runs[-1].rates_hz) / min(limit, CAMERAS * RATE_HZ))
        with capsys.disabled():
            for ratio, seen in zip(ratios, runs, strict=True):
                rates = [round(rate_hz, 1) for rate_hz in seen.rates_hz]
                p50, p99 = np.percentile(seen.ages_ms, [50, 99]).tolist()
                tell(
                    f"{sum(rates):.1f} inspections/s {rates}, age p50 {p50:.1f} ms, "
                    f"p99 {p99:.1f} ms, {seen.errors} ERROR; share of what is possible {ratio:.3f}"
                )
            tell(f"median share {statistics.median(ratios):.3f}")
    assert all(seen.errors == 0 for seen in runs)


def test_what_one_camera_adds_to_its_engine(
    int8: Path, addresses: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    added: list[float] = []  # ms from capture to result, without the engine

    def add(frame: Frame, result: Result) -> None:
        if "engine" in result.speed:
            age = (time.monotonic_ns() - frame.monotonic_ns) / 1e6
            added.append(age - result.speed["engine"])

    with load(int8) as inspector, open_source(addresses[0]) as source:
        signs = ("black", "saturated", "blurred", "occluded", "size")
        inspector.health = inspector.health.without(*signs)
        with open_judge(inspector, source) as inspect:
            stream(inspect, source, max_frames=int(RATE_HZ * 20), on_result=add)
    p50, p95, p99 = np.percentile(added[30:], [50, 95, 99]).tolist()
    with capsys.disabled():
        print(f"\nadded to the engine: p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms")
    assert len(added) > 100
