"""Pictures for the page: of now, of the last rejects, within their time, and no frame kept."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_until

from edge.drawing.overlay import draw
from edge.result import Region, Result, Verdict
from edge.service import gallery as module
from edge.service import shown_pictures
from edge.service.gallery import MAX_SIDE, MAX_SIDE_OF_MANY, Galleries, Gallery, shrink
from edge.service.shown_pictures import MAX_REJECTS
from edge.sinks.sink import name_from_result
from edge.sinks.threads import SinkThreads

START_NS = 1_769_853_300_123_000_000


def result_of(
    number: int, verdict: Verdict = Verdict.OK, *, reason: str = "", image=None
) -> Result:
    return Result(
        source="replay:part",
        frame=number,
        captured_at_ns=START_NS + number * 40_000_000,
        verdict=verdict,
        score=None if verdict is Verdict.ERROR else 0.25,
        threshold=0.5,
        reason=reason,
        image=image,
    )


def picture_of(width: int = 64, height: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype(np.uint8)


def size_of(jpeg: bytes) -> tuple[int, int]:
    """(width, height) of an encoded picture."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return image.shape[1], image.shape[0]


class Clock:
    """Time as a test has it: it passes when it says so, and every drawing costs the same."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.now = 1000.0
        self.spent = 0.0
        self._cost_s = cost_s
        self._drawing = False

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        self.spent += self._cost_s if self._drawing else 0.0
        self._drawing = not self._drawing
        return self.spent


@pytest.fixture
def clock(monkeypatch):
    def start(cost_s: float = 0.0) -> Clock:
        made = Clock(cost_s)
        monkeypatch.setattr(module, "time", made)
        monkeypatch.setattr(shown_pictures, "time", made)
        monkeypatch.setattr("edge.sinks.losses.time", made)
        monkeypatch.setattr(shown_pictures, "WAIT_S", 0.0)
        return made

    return start


def test_nothing_is_drawn_for_nobody(clock) -> None:
    clock()
    gallery = Galleries(cpus=1).gallery("")
    gallery.write(result_of(0))
    assert gallery.shown.live() is None
    gallery.write(result_of(1))
    picture, age_s = gallery.shown.live()
    assert (picture.id, picture.verdict, age_s) == (name_from_result(result_of(1)), "OK", 0.0)
    assert size_of(picture.jpeg) == (640, 360)  # the empty one


def test_whoever_leaves_is_drawn_for_no_longer(clock) -> None:
    time = clock()
    gallery = Galleries(cpus=1).gallery("")
    gallery.shown.live()
    time.now += shown_pictures.WATCHED_S + 0.1
    gallery.write(result_of(0))
    assert gallery.shown.live() is None


def test_an_old_picture_is_never_given(clock) -> None:
    time = clock()
    gallery = Galleries(cpus=1).gallery("")
    gallery.shown.live()
    gallery.write(dataclasses.replace(result_of(0), speed={"engine": 500.0}))
    assert gallery.shown.live()[1] == pytest.approx(0.5)
    time.now += 1.49
    assert gallery.shown.live()[1] == pytest.approx(1.99)
    time.now += 0.02
    assert gallery.shown.live() is None


def test_an_answer_waits_a_moment_for_a_picture_that_is_new() -> None:
    gallery = Galleries(cpus=1000).gallery("")
    numbers = iter(range(1000))
    ended = threading.Event()

    def camera() -> None:
        while not ended.wait(0.02):
            gallery.write(result_of(next(numbers), image=picture_of()))

    thread = threading.Thread(target=camera)
    thread.start()
    try:
        wait_until(lambda: gallery.shown.live() is not None)
        names = []
        while len(names) < 5:
            found = gallery.shown.live(unless_id=names[-1] if names else "")
            if found is not None and found[0].id not in names:  # this machine may be held up
                names.append(found[0].id)
    finally:
        ended.set()
        thread.join()
    began = time.monotonic()
    gallery.shown.live()
    assert gallery.shown.live(unless_id=names[-1]) is None or time.monotonic() - began > 0.2


@pytest.mark.parametrize("rejecting", [False, True])
@pytest.mark.parametrize("cameras", [1, 2, 4])
def test_all_cameras_together_take_a_hundredth_of_the_machine(clock, cameras, rejecting) -> None:
    time = clock(cost_s=0.008)
    galleries = Galleries(cpus=2)
    each = [galleries.gallery(f"camera{number}") for number in range(cameras)]
    drawn = {gallery: set() for gallery in each}
    verdict = Verdict.NG if rejecting else Verdict.OK
    for number in range(30 * 60):  # a minute of 30 frames a second
        time.now += 1 / 30
        for gallery in each:
            gallery.write(result_of(number, verdict))
            found = gallery.shown.live()
            if found is not None:
                drawn[gallery].add(found[0].id)
    # One picture more each: that with which it begins.
    assert time.spent <= 0.01 * 2 * 60 + 2 * cameras * 0.008
    counts = [len(names) for names in drawn.values()]
    assert max(counts) - min(counts) <= 1
    assert sum(counts) >= 0.8 * min(module.SHARE * 2 * 60 / 0.008, 10 * 60 * cameras)


def test_a_camera_is_drawn_ten_times_a_second_at_most(clock) -> None:
    time = clock(cost_s=1e-6)
    gallery = Galleries(cpus=64).gallery("")
    names = set()
    for number in range(1000):  # ten seconds
        time.now += 0.01
        gallery.write(result_of(number))
        found = gallery.shown.live()
        names |= {found[0].id} if found else set()
    assert 85 <= len(names) <= 101


def test_rejects_are_shown_two_a_second_and_the_last_twelve_stay(clock) -> None:
    time = clock()
    gallery = Galleries(cpus=1).gallery("")
    for number in range(100):  # ten seconds, all of them NG
        gallery.write(result_of(number, Verdict.NG))
        if number == 0:
            assert len(gallery.shown.rejects()) == 1  # the first of them at once
        time.now += 0.1
    shown = [picture.result["frame"] for picture in gallery.shown.rejects()]
    assert shown == [95 - 5 * back for back in range(MAX_REJECTS)]


def test_the_first_reject_is_shown_however_busy_the_live_picture_is(clock) -> None:
    time = clock(cost_s=5 * module.SHARE)  # five seconds of rest after each
    gallery = Galleries(cpus=1).gallery("")
    gallery.shown.live()
    gallery.write(result_of(0))
    time.now += 0.04
    gallery.write(result_of(1, Verdict.NG))
    assert [picture.result["frame"] for picture in gallery.shown.rejects()] == [1]
    for number in range(2, 52):
        time.now += 0.1
        gallery.write(result_of(number, Verdict.NG))
    assert len(gallery.shown.rejects()) == 1 + 1


def test_an_error_that_lasts_is_shown_once_in_ten_seconds(clock) -> None:
    time = clock()
    gallery = Galleries(cpus=1).gallery("")
    for number in range(30):
        gallery.write(result_of(number, Verdict.ERROR, reason=f"no frame for {number}.0 s"))
        gallery.write(result_of(number))
        time.now += 0.6
    gallery.write(result_of(30, Verdict.ERROR, reason="the engine failed"))
    assert [one.result["frame"] for one in gallery.shown.rejects()] == [30, 17, 0]


def test_an_error_for_which_there_was_no_time_is_still_news(clock) -> None:
    time = clock()
    gallery = Galleries(cpus=1).gallery("")
    gallery.write(result_of(0, Verdict.NG))
    gallery.write(result_of(1, Verdict.ERROR, reason="black"))
    time.now += 0.6
    gallery.write(result_of(2, Verdict.ERROR, reason="black"))
    assert [one.result["frame"] for one in gallery.shown.rejects()] == [2, 0]


def test_no_frame_is_kept() -> None:
    gallery = Galleries(cpus=1000).gallery("")
    gallery.shown.live()
    with SinkThreads([gallery], live=True) as running:
        for number, verdict in enumerate((Verdict.OK, Verdict.NG, Verdict.ERROR)):
            image = picture_of()
            gone = weakref.ref(image)
            running.put(result_of(number, verdict, image=image))
            del image
            # Also while the thread waits for the next: its memory is the camera's.
            wait_until(lambda gone=gone: gone() is None)
    assert gallery.shown.rejects()


def test_pictures_are_reduced_and_more_so_beside_others(clock) -> None:
    clock()
    galleries = Galleries(cpus=1)
    first = galleries.gallery("a")
    first.shown.live()
    first.write(result_of(0, image=picture_of(1920, 1080)))
    assert size_of(first.shown.live()[0].jpeg) == (MAX_SIDE, MAX_SIDE * 9 // 16)
    for name in "bc":
        galleries.gallery(name)
    other = galleries.gallery("d")
    other.shown.live()
    other.write(result_of(0, image=picture_of(1080, 1920)))
    assert size_of(other.shown.live()[0].jpeg) == (MAX_SIDE_OF_MANY * 9 // 16, MAX_SIDE_OF_MANY)
    other.write(result_of(1, Verdict.NG, image=picture_of(320, 240)))
    assert size_of(other.shown.rejects()[0].jpeg) == (320, 240)


def test_what_is_drawn_after_reducing_looks_as_if_it_were_before() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[20:30, 30:40] = 1.0
    result = dataclasses.replace(
        result_of(0, Verdict.NG, image=cv2.GaussianBlur(picture_of(1920, 1080), (0, 0), 5)),
        anomaly_map=cv2.GaussianBlur(heat, (0, 0), 2),
        roi=(400, 40, 1000, 1000),
        regions=(Region(850, 340, 200, 190, 20_000, 1.0),),
    )
    small = draw(shrink(result, 960)).astype(int)
    before = cv2.resize(draw(result), (960, 540), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(small - before).mean() < 2.0
    assert (small[200:240, 440:520] != before[0, 0]).any()
    assert result.image.shape == (1080, 1920, 3)


@given(st.data())
def test_reduced_regions_stay_inside(data) -> None:
    width, height = data.draw(st.integers(2, 3000)), data.draw(st.integers(2, 3000))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    across, down = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    image = np.broadcast_to(np.uint8(0), (height, width, 3))
    region = Region(x, y, across, down, 1, 1.0)
    result = dataclasses.replace(
        result_of(0, image=image), regions=(region,), roi=(x, y, across, down)
    )
    small = shrink(result, 100)
    (left, top, wide, high), (found,) = small.roi, small.regions
    assert (found.x, found.y, found.width, found.height) == (left, top, wide, high)
    assert max(small.image.shape) <= max(100, 3)
    assert wide >= 1 and high >= 1
    assert 0 <= left <= small.image.shape[1] - wide
    assert 0 <= top <= small.image.shape[0] - high


def test_a_picture_that_cannot_be_encoded_is_counted_and_told(clock, monkeypatch, caplog) -> None:
    clock()
    gallery = Galleries(cpus=1).gallery("left")
    gallery.shown.live()
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "imencode", lambda *_: (False, None))
        gallery.write(result_of(0, Verdict.NG))
    assert gallery.losses.total == 1
    assert "page, left" in gallery.losses.trouble
    assert gallery.shown.rejects() == ()


def test_it_is_a_sink_that_waits_for_no_other() -> None:
    assert (Gallery.lossless, Gallery.alone) == (False, True)
    with Galleries(cpus=1).gallery("") as gallery:
        assert gallery.losses.total == 0
