"""FreezeDetector: a still scene is no fault, a picture that stays is one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from still_scene import FPS, Coded, Sensor, alarms, until

from cameras.frame import Frame
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.health.frozen import MAX_PATIENCE_S, QUICK_S, UNSURE_S, FreezeDetector
from edge.health.low_noise import MAX_QUIET_S

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
    frozen = FreezeDetector()
    told = [bool(frozen.find_problem(picture, round(60e9 * minute))) for minute in range(10)]
    assert told.index(True) == 5


def test_a_missing_frame_and_a_stall_are_no_freeze(scene) -> None:
    sensor = Sensor(scene, sigma=2.0)
    seen = FrameChecker(lambda: ImageChecks(None))
    clock = 0.0
    for index in range(200):
        clock += 60.0 if index % 50 == 0 else 1 / FPS
        image = None if index % 10 == 0 else sensor.take()
        assert seen.find_problem(Frame("cam", index, 0, round(clock * 1e9), image)) == ""


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


@pytest.mark.parametrize(
    ("gop", "crf"), [(30, 36), pytest.param(60, 36, marks=pytest.mark.soak), (250, 45)]
)
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

    found = until(alarms(source, seconds=45))
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


# --- an encoder with a fixed rate goes on changing a frozen picture ------------------------


@pytest.mark.parametrize(
    ("sigma", "gop", "kbits", "moving"),
    [
        (2.0, 30, 1000, True),
        pytest.param(2.0, 30, 1000, False, marks=pytest.mark.soak),
        pytest.param(4.0, 60, 1500, True, marks=pytest.mark.soak),
        (4.0, 60, 1500, False),
        (2.0, 250, 500, True),
        pytest.param(2.0, 250, 500, False, marks=pytest.mark.soak),
    ],
)
def test_what_freezes_before_a_fixed_rate_is_told_within_two_seconds(
    scene, moving, sigma, gop, kbits
) -> None:
    sensor, coded = Sensor(scene, sigma=sigma), Coded(gop=gop, kbits=kbits)
    last = sensor.take(7.9, moving=moving)

    def source(t: float) -> np.ndarray:
        return coded.through(last if 8 <= t < 20 else sensor.take(t, moving=moving))

    found = until(alarms(source, seconds=24))
    assert len(found) == 1  # no verdict in between
    assert 8 < found[0][0] <= 10
    assert 20 <= found[0][1] < 22


@pytest.mark.parametrize(("sigma", "gop", "kbits"), [(1.0, 30, 1000), (3.0, 250, 300)])
def test_a_line_that_stops_and_goes_before_a_fixed_rate_is_no_fault(scene, sigma, gop, kbits):
    sensor, coded = Sensor(scene, sigma=sigma), Coded(gop=gop, kbits=kbits)
    assert alarms(lambda t: coded.through(sensor.take(t, moving=t % 10 < 6)), seconds=30) == []


def test_noise_that_goes_for_another_reason_costs_a_minute_and_no_more(scene) -> None:
    """More light, less gain: the encoder leaves the rest of the noise out, and all is well."""
    loud, soft = Sensor(scene, sigma=4.0), Sensor(scene, sigma=1.0)
    coded = Coded(gop=30, crf=30)

    def source(t: float) -> np.ndarray:
        return coded.through(loud.take(t) if t < 8 else soft.take(t))

    found = until(alarms(source, seconds=12 + MAX_QUIET_S))
    assert all(begin > 8 and end < 8 + 2 + MAX_QUIET_S for begin, end in found)


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
    frozen, clock, known = FreezeDetector(), 0, set()
    for value, step, size in given_frames:
        clock += step
        told = frozen.find_problem(np.full((*size, 3), value, np.uint8), clock)
        if (value, size) not in known and not known:
            assert told == ""
        known.add((value, size))


@settings(max_examples=30, deadline=None)
@given(st.floats(QUICK_S, 3 * MAX_PATIENCE_S), st.integers(0, 2**16))
def test_no_lesson_makes_it_wait_for_longer_than_the_longest(stay, seed) -> None:
    """Still scenes of any rhythm, then nothing new for ever."""
    random = np.random.default_rng(seed)
    frozen, clock = FreezeDetector(), 0.0
    for _ in range(5):
        picture = random.integers(100, 103, (8, 32, 3)).astype(np.uint8)
        for _ in range(8):
            frozen.find_problem(picture, round(clock * 1e9))
            clock += stay / 8
    begun = clock
    while not frozen.find_problem(picture, round(clock * 1e9)):
        clock += 0.5
    assert clock - begun <= MAX_PATIENCE_S + 0.5


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "fps"), [("static_camera", 10.0), ("bottles_on_table", 29.83)])
def test_real_videos_are_alive(name, fps, realdata: Path) -> None:
    """Coded by others, with next to nothing moving for long; as if they came from a camera."""
    video = cv2.VideoCapture(str(realdata / "videos" / f"{name}.mp4"))
    frozen, count = FreezeDetector(), 0
    try:
        while True:
            good, picture = video.read()
            if not good:
                break
            assert (
                frozen.find_problem(np.asarray(picture, np.uint8), round(count / fps * 1e9)) == ""
            )
            count += 1
    finally:
        video.release()
    assert count > 1000


# --- ten minutes ----------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize(
    ("sigma", "coding"),
    [
        (1.0, None),
        (4.0, None),
        (1.0, {"gop": 30, "crf": 28}),
        (1.0, {"gop": 60, "crf": 36}),
        (2.0, {"gop": 250, "crf": 36}),
        (3.0, {"gop": 60, "crf": 40}),
        (1.0, {"gop": 250, "crf": 45}),
        (1.0, {"gop": 30, "kbits": 1000}),
        (2.0, {"gop": 250, "kbits": 500}),
        (4.0, {"gop": 10, "kbits": 200}),
    ],
)
def test_no_false_alarm_in_ten_minutes_of_a_still_scene(scene, sigma, coding, capsys) -> None:
    sensor = Sensor(scene, sigma=sigma)
    coded = Coded(**coding) if coding else None
    repeats, last = 0, scene

    def source(_: float) -> np.ndarray:
        nonlocal repeats, last
        picture = coded.through(sensor.take()) if coded else sensor.take()
        repeats += np.array_equal(picture, last)
        last = picture
        return picture

    found = alarms(source, seconds=600)
    with capsys.disabled():
        print(f"\nsigma {sigma}, {coding}: {repeats} repeats, {len(found)} alarms")
    assert found == []
