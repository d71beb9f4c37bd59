"""Frozen and resized: a still scene is no fault, a picture that stays is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cameras.frame import Frame
from cameras.replay import Replay
from edge.health import Health
from edge.health_stream import LONGEST_S, QUICK_S, UNSURE_S, CameraHealth, Frozen, StreamHealth
from edge.inspector import load
from edge.line import draw_dataset
from edge.result import Result, Verdict, error_from_frame
from edge.station import ErrorCode, Job, JudgeOptions
from edge.station import inspecting as station
from edge.station.inspecting import InspectorJudge
from engines.manifest import HealthRecord

FPS = 30
WIDTH, HEIGHT = 320, 240
Source = Callable[[float], np.ndarray]  # seconds to picture


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("scene")
    draw_dataset(folder, good=1, test_good=1, defects_each=1, size=256)
    picture = cv2.imread(str(next((folder / "train" / "good").iterdir())))
    return cv2.resize(picture, (WIDTH, HEIGHT))


class Sensor:
    """A camera before a scene: noise, and a part that passes while `moving`."""

    def __init__(self, scene: np.ndarray, *, sigma: float, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._scene = scene.astype(np.int16)
        noise = self._random.normal(0, sigma, (HEIGHT + 40, WIDTH + 40, 3))
        self._noise = noise.round().astype(np.int16)

    def take(self, seconds: float = 0.0, *, moving: bool = False) -> np.ndarray:
        y, x = self._random.integers(40, size=2)
        picture = self._scene + self._noise[y : y + HEIGHT, x : x + WIDTH]
        if moving:
            left = int(seconds * 120) % (WIDTH - 60)
            picture[100:160, left : left + 60] = 40
        return np.clip(picture, 0, 255).astype(np.uint8)


class Coded:
    """H.264 as cameras send it, encoded and decoded again."""

    def __init__(self, *, gop: int, crf: int = 36) -> None:
        av = pytest.importorskip("av", reason="av is not installed")
        self._av = av
        self._encoder = av.CodecContext.create("libx264", "w")
        self._encoder.width, self._encoder.height = WIDTH, HEIGHT
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.time_base = Fraction(1, FPS)
        self._encoder.framerate = Fraction(FPS)
        self._encoder.gop_size = gop
        self._encoder.thread_count = 1
        self._encoder.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "crf": str(crf),
            "x264-params": f"keyint={gop}:scenecut=0",
        }
        self._decoder = av.CodecContext.create("h264", "r")
        self._count = 0

    def through(self, picture: np.ndarray) -> np.ndarray:
        frame = self._av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts = self._count
        self._count += 1
        for packet in self._encoder.encode(frame):
            for decoded in self._decoder.decode(packet):
                return decoded.to_ndarray(format="bgr24")
        raise AssertionError("an encoder without delay gives a picture for each")


def alarms(
    source: Source, *, seconds: float, fps: float = FPS, frozen: Frozen | None = None
) -> list[float]:
    """Seconds at which a picture was called frozen."""
    frozen = frozen or Frozen()
    times = [index / fps for index in range(round(seconds * fps))]
    return [t for t in times if frozen.problem(source(t), round(t * 1e9))]


def until(times: list[float], *, step: float = 1.5 / FPS) -> list[tuple[float, float]]:
    """Alarms that follow each other, as (begin, end)."""
    found: list[tuple[float, float]] = []
    for t in times:
        if found and t - found[-1][1] <= step:
            found[-1] = (found[-1][0], t)
        else:
            found.append((t, t))
    return found


# --- a sensor's noise arrives ---------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.7, 2.0, 6.0])
def test_a_noisy_still_scene_is_no_fault(scene, sigma) -> None:
    sensor = Sensor(scene, sigma=sigma)
    assert alarms(sensor.take, seconds=30) == []


@pytest.mark.parametrize("fps", [5, 30, 100])
@pytest.mark.parametrize("begin", [2.0, 9.3])
def test_a_frozen_picture_is_told_within_two_seconds_and_until_it_lives(scene, fps, begin) -> None:
    sensor = Sensor(scene, sigma=2.0)
    last = sensor.take()

    def source(t: float) -> np.ndarray:
        return last if begin <= t < begin + 6 else sensor.take()

    found = until(alarms(source, seconds=begin + 10, fps=fps), step=1.5 / fps)
    assert len(found) == 1
    assert found[0][0] <= begin + 2
    assert found[0][1] == pytest.approx(begin + 6, abs=1.2)  # and it is believed again soon


def test_hiccups_do_not_teach_patience(scene) -> None:
    """Pictures that stayed, where noise arrives, were faults each time."""
    sensor = Sensor(scene, sigma=2.0)
    last = sensor.take()
    begins = (5.0, 40.0)

    def source(t: float) -> np.ndarray:
        return last if any(begin <= t < begin + 8 for begin in begins) else sensor.take()

    found = until(alarms(source, seconds=50))
    assert [begin <= start <= begin + 2 for begin, (start, _) in zip(begins, found, strict=True)]


def test_a_loop_of_pictures_is_frozen_too(scene) -> None:
    """As a recorder plays that has lost its camera."""
    sensor = Sensor(scene, sigma=2.0)
    loop = [sensor.take() for _ in range(90)]

    def source(t: float) -> np.ndarray:
        return loop[round(t * FPS) % 90] if t >= 5 else sensor.take()

    found = alarms(source, seconds=20)
    assert 5 < found[0] <= 5 + 3 + 2  # the first round is new
    assert len(found) == round((20 - found[0]) * FPS)


def test_a_camera_that_repeats_every_picture_is_no_fault(scene) -> None:
    sensor = Sensor(scene, sigma=2.0)
    twice: list[np.ndarray] = []

    def source(t: float) -> np.ndarray:
        if round(t * FPS) % 2 == 0:
            twice[:] = [sensor.take()]
        return twice[0]

    assert alarms(source, seconds=20) == []


def test_a_few_pictures_prove_nothing(scene) -> None:
    """One a minute: the same twice may be a camera's slip."""
    picture = Sensor(scene, sigma=2.0).take()
    frozen = Frozen()
    told = [bool(frozen.problem(picture, round(60e9 * minute))) for minute in range(10)]
    assert told.index(True) == 5


def test_a_missing_frame_and_a_stall_are_no_freeze(scene) -> None:
    sensor = Sensor(scene, sigma=2.0)
    seen = CameraHealth(Health(None))
    clock = 0.0
    for index in range(200):
        clock += 60.0 if index % 50 == 0 else 1 / FPS
        image = None if index % 10 == 0 else sensor.take()
        assert seen.problem(Frame("cam", index, 0, round(clock * 1e9), image)) == ""


def test_nothing_moves_and_nothing_lives_is_told_at_last(scene) -> None:
    """From the start on: a test pattern, a picture of a camera."""
    found = alarms(lambda _: scene, seconds=UNSURE_S + 2)
    assert found[0] == pytest.approx(UNSURE_S, abs=0.1)
    assert len(found) == pytest.approx(2 * FPS, abs=3)


def test_a_clean_moving_picture_that_stops_is_told(scene) -> None:
    """Drawn, without noise; the part stops."""
    clean = Sensor(scene, sigma=0.0)
    found = alarms(lambda t: clean.take(min(t, 8.0) / 4, moving=True), seconds=14)
    assert 8 < found[0] <= 10
    assert len(found) == round((14 - found[0]) * FPS)


# --- an encoder takes the noise away --------------------------------------------------------


@pytest.mark.parametrize(("gop", "crf"), [(30, 36), (60, 36), (250, 36), (250, 45)])
def test_a_coded_still_scene_is_no_fault(scene, gop, crf) -> None:
    sensor, coded = Sensor(scene, sigma=1.0), Coded(gop=gop, crf=crf)
    repeats, last = 0, scene

    def source(_: float) -> np.ndarray:
        nonlocal repeats, last
        picture = coded.through(sensor.take())
        repeats += np.array_equal(picture, last)
        last = picture
        return picture

    assert alarms(source, seconds=30) == []
    assert repeats > 0.5 * 30 * FPS  # or this would prove nothing


def test_a_coded_scene_that_comes_to_rest_is_told_once_and_then_known(scene) -> None:
    sensor, coded = Sensor(scene, sigma=1.0), Coded(gop=60)

    def source(t: float) -> np.ndarray:
        return coded.through(sensor.take(t, moving=t % 20 < 8))

    found = until(alarms(source, seconds=60))
    assert len(found) <= 1
    assert all(end < 20 for _, end in found)


def test_a_camera_that_freezes_before_its_encoder_is_told_and_no_key_frame_redeems_it(
    scene,
) -> None:
    sensor, coded = Sensor(scene, sigma=1.0), Coded(gop=60, crf=30)
    last = sensor.take(7.9, moving=True)

    def source(t: float) -> np.ndarray:
        return coded.through(sensor.take(t, moving=True) if t < 8 else last)

    found = until(alarms(source, seconds=20))
    assert len(found) == 1
    assert 8 < found[0][0] <= 10
    assert found[0][1] == pytest.approx(20, abs=0.1)


# --- size, results, the station -------------------------------------------------------------


def ok(frame: Frame) -> Result:
    if frame.image is None:
        return error_from_frame(frame, threshold=0.5)
    return Result(frame.source, frame.index, 0, Verdict.OK, 0.1, 0.5, image=frame.image)


def frames(pictures: list[np.ndarray | None], *, fps: float = FPS) -> list[Frame]:
    return [
        Frame("cam", index, 0, round(index / fps * 1e9), picture)
        for index, picture in enumerate(pictures)
    ]


def test_a_picture_of_another_size_is_an_error_until_the_camera_is_set_back() -> None:
    random = np.random.default_rng(0)
    large, small = (random.integers(0, 255, (*s, 3), np.uint8) for s in ((48, 64), (24, 32)))
    judge = StreamHealth(ok, Health(None))
    results = [judge(frame) for frame in frames([large, small, None, small, large])]
    assert [str(result.verdict) for result in results] == ["OK", "ERROR", "ERROR", "ERROR", "OK"]
    assert results[1].reason.startswith("size: the picture has 32x24 px, it had 64x48; ")
    assert results[1].image is small and results[1].score is None
    assert results[2].reason == "no image and no reason given"


def test_sizes_of_the_good_images_may_follow_each_other() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (*s, 3), np.uint8) for s in ((48, 64), (24, 32), (12, 8))]
    judge = StreamHealth(ok, Health(HealthRecord(images=2, sizes=((24, 32), (48, 64)))))
    results = [judge(frame) for frame in frames(pictures)]
    assert [str(result.verdict) for result in results] == ["OK", "OK", "ERROR"]


def test_what_is_left_out_is_left_out(scene) -> None:
    small = cv2.resize(scene, (64, 48))
    pictures: list[np.ndarray | None] = [*[scene] * 400, small]
    judge = StreamHealth(ok, Health(None, off=frozenset({"frozen", "size"})))
    assert {str(judge(frame).verdict) for frame in frames(pictures)} == {"OK"}


def test_a_frozen_frame_keeps_what_is_worse(scene) -> None:
    """A black picture repeats as well; that it is black says more."""
    judge = StreamHealth(
        lambda f: error_from_frame(f, threshold=0.5, reason="black: x"), Health(None)
    )
    reasons = {judge(frame).reason for frame in frames([scene] * 400)}
    assert reasons == {"black: x"}


def test_a_frozen_camera_is_an_error_in_results(scene) -> None:
    judge = StreamHealth(ok, Health(None))
    results = [judge(frame) for frame in frames([scene] * 400)]
    first = next(i for i, result in enumerate(results) if result.verdict is Verdict.ERROR)
    assert first == UNSURE_S * FPS
    assert {str(result.verdict) for result in results[first:]} == {"ERROR"}
    assert results[first].reason == (
        "frozen: the picture has not changed for 10.0 s; check the camera and what lies between"
    )
    assert results[first].image is scene


FAULTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "frozen": lambda _, last: last,
    "black": lambda now, _: np.minimum(now, 6),
    "saturated": lambda now, _: cv2.convertScaleAbs(now, alpha=4.0),
    "blurred": lambda now, _: cv2.GaussianBlur(now, (0, 0), 4),
    "occluded": lambda now, _: np.vstack([now[:64] // 8, now[64:]]),
    "size": lambda now, _: now[:96],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_within_two_seconds_and_nothing_is_ok_after_it(
    fault, built: Path, drawn: Path
) -> None:
    """And when it is over, parts are judged again."""
    good = cv2.imread(str(min((drawn / "train" / "good").iterdir()))).astype(np.int16)
    random = np.random.default_rng(0)
    fps, begin, end = 10, 3.0, 7.0
    verdicts: list[tuple[float, Result]] = []
    with load(built, engine="onnxruntime") as inspector:
        judge = StreamHealth(inspector.inspect, inspector.health)
        last = good.astype(np.uint8)
        for index in range(100):
            t = index / fps
            now = np.clip(good + random.normal(0, 1, good.shape).round(), 0, 255).astype(np.uint8)
            picture = np.asarray(FAULTS[fault](now, last) if begin <= t < end else now, np.uint8)
            if t < begin:
                last = now
            verdicts.append((t, judge(Frame("cam", index, 0, round(t * 1e9), picture))))
    told = [(t, result) for t, result in verdicts if result.verdict is Verdict.ERROR]
    assert begin <= told[0][0] <= begin + 2
    assert all(result.verdict is Verdict.ERROR for t, result in verdicts if told[0][0] <= t < end)
    assert {result.reason.partition(":")[0] for _, result in told} == {fault}
    after = [result.verdict for t, result in verdicts if t >= end + 1.2]
    assert set(after) == {Verdict.OK}


class Live(Replay):
    live = True


def test_the_inspectors_own_stream_looks_too(built: Path, drawn: Path, monkeypatch) -> None:
    good = cv2.imread(str(min((drawn / "train" / "good").iterdir())))
    large = cv2.resize(good, (256, 256))
    monkeypatch.setattr("edge.inspector.open_source", lambda _: Live([good, large, good]))
    with load(built, engine="onnxruntime") as inspector:
        verdicts = [str(result.verdict) for result in inspector.stream("cam")]
        assert verdicts == ["OK", "ERROR", "OK"]
        assert str(inspector.inspect(large).verdict) == "OK"  # no camera: any size is fitted


def test_a_station_rejects_a_part_whose_camera_is_frozen(built: Path, drawn: Path, monkeypatch):
    good = cv2.imread(str(min((drawn / "train" / "good").iterdir())))

    class Stuck:
        live, name, rate_hz, length, dropped = True, "cam", None, None, 0

        def __iter__(self) -> Iterator[Frame]:
            begun = time.monotonic_ns()
            for index in range(1000):
                yield Frame("cam", index, 1, begun + round(index / FPS * 1e9), good)

        def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(station, "open_source", lambda *_, **__: Stuck())
    options = JudgeOptions(
        recipes={1: str(built)}, source="0", engine="onnxruntime", warm_up=1, deadline_ms=60_000
    )
    judge = InspectorJudge(options)
    try:
        judge.load(1)
        now = time.monotonic_ns()
        answers = [
            judge.inspect(Job(seq, 1, 1, now + seq * 1_000_000_000, 10**19)) for seq in range(1, 20)
        ]
    finally:
        judge.close()
    codes = [answer.error for answer in answers]
    first = codes.index(ErrorCode.BAD_PICTURE)
    assert 8 <= first <= 12
    assert set(codes[:first]) == {ErrorCode.NONE}
    assert set(codes[first:]) == {ErrorCode.BAD_PICTURE}
    assert answers[first].reason.startswith("frozen: ")


# --- whatever comes -------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 10**10), st.sampled_from([(4, 4), (9, 5)])),
        max_size=60,
    )
)
def test_any_pictures_at_any_times(given_frames) -> None:
    """Never an exception; never an alarm for a picture that was never there before."""
    frozen, clock, known = Frozen(), 0, set()
    for value, step, size in given_frames:
        clock += step
        told = frozen.problem(np.full((*size, 3), value, np.uint8), clock)
        if (value, size) not in known and not known:
            assert told == ""
        known.add((value, size))


@settings(max_examples=30, deadline=None)
@given(st.floats(QUICK_S, 3 * LONGEST_S), st.integers(0, 2**16))
def test_no_lesson_makes_it_wait_for_longer_than_the_longest(stay, seed) -> None:
    """Still scenes of any rhythm, then nothing new for ever."""
    random = np.random.default_rng(seed)
    frozen, clock = Frozen(), 0.0
    for _ in range(5):
        picture = random.integers(100, 103, (8, 32, 3)).astype(np.uint8)
        for _ in range(8):
            frozen.problem(picture, round(clock * 1e9))
            clock += stay / 8
    begun = clock
    while not frozen.problem(picture, round(clock * 1e9)):
        clock += 0.5
    assert clock - begun <= LONGEST_S + 0.5


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "fps"), [("static_camera", 10.0), ("bottles_on_table", 29.83)])
def test_real_videos_are_alive(name, fps, realdata: Path) -> None:
    """Coded by others, with next to nothing moving for long; as if they came from a camera."""
    video = cv2.VideoCapture(str(realdata / "videos" / f"{name}.mp4"))
    frozen, count = Frozen(), 0
    try:
        while True:
            good, picture = video.read()
            if not good:
                break
            assert frozen.problem(np.asarray(picture, np.uint8), round(count / fps * 1e9)) == ""
            count += 1
    finally:
        video.release()
    assert count > 1000


# --- ten minutes ----------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize(
    ("sigma", "gop", "crf"),
    [
        (1.0, None, None),
        (4.0, None, None),
        (1.0, 30, 28),
        (1.0, 60, 36),
        (2.0, 250, 36),
        (3.0, 60, 40),
        (1.0, 250, 45),
    ],
)
def test_no_false_alarm_in_ten_minutes_of_a_still_scene(scene, sigma, gop, crf, capsys) -> None:
    sensor = Sensor(scene, sigma=sigma)
    coded = Coded(gop=gop, crf=crf) if gop else None
    repeats, last = 0, scene

    def source(_: float) -> np.ndarray:
        nonlocal repeats, last
        picture = coded.through(sensor.take()) if coded else sensor.take()
        repeats += np.array_equal(picture, last)
        last = picture
        return picture

    found = alarms(source, seconds=600)
    with capsys.disabled():
        print(f"\nsigma {sigma}, gop {gop}, crf {crf}: {repeats} repeats, {len(found)} alarms")
    assert found == []
