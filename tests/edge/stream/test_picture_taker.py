"""Who asks gets the first picture after a trigger, or is told why there is none."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from dated_camera import DatedCamera
from replay import Replay
from waiting import wait_until

from cameras.errors import CameraError
from edge.health.checks import ImageChecks
from edge.stream import reopening
from edge.stream.picture_taker import NoMorePicturesError, PictureTaker

IMAGES = [np.full((8, 8, 3), value, np.uint8) for value in range(3)]


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = threading.active_count()
    yield
    wait_until(lambda: threading.active_count() <= before)


def taker(source, **options) -> PictureTaker:
    return PictureTaker(source, lambda: ImageChecks(None), **options)


def test_files_are_read_when_somebody_asks_and_not_before() -> None:
    read: list[int] = []

    def images():
        for number, image in enumerate(IMAGES):
            read.append(number)
            yield image

    with taker(Replay(images())) as pictures:
        assert not pictures.live
        assert pictures.request(0).result(20).image[0, 0, 0] == 0
        assert read == [0]
        assert pictures.request(0).result(20).image[0, 0, 0] == 1
        last, over = pictures.request(0), pictures.request(0)
        assert last.result(20).image[0, 0, 0] == 2
        with pytest.raises(NoMorePicturesError, match="no more pictures"):
            over.result(20)
        with pytest.raises(NoMorePicturesError, match="no more pictures"):
            pictures.request(0).result(20)


def test_a_cancelled_request_takes_no_picture_from_the_next() -> None:
    camera = DatedCamera(10, 20, 30, image=IMAGES[0])
    now = time.monotonic_ns()
    with taker(camera, settle_ms=15) as pictures:
        given_up, waiting = pictures.request(now), pictures.request(now)
        assert given_up.cancel()
        camera.show(3)
        assert waiting.result(20) is camera.frames[1]


def _gone():
    yield IMAGES[0]
    raise CameraError("line3: gone")


def _mistaken():
    yield IMAGES[0]
    raise KeyError("a mistake")


@pytest.mark.parametrize(
    ("images", "reason"), [(_gone, "line3: gone"), (_mistaken, "KeyError: 'a mistake'")]
)
def test_a_source_that_fails_says_so_to_who_waits_and_who_asks_later(images, reason) -> None:
    with taker(Replay(images())) as pictures:
        pictures.request(0).result(20)
        for picture in (pictures.request(0), pictures.request(0)):
            error = picture.exception(20)
            assert isinstance(error, CameraError) and not isinstance(error, NoMorePicturesError)
            assert reason in str(error)


def test_the_end_lets_nobody_wait() -> None:
    pictures = taker(DatedCamera(image=IMAGES[0]))
    waiting = pictures.request(0)
    pictures.close()
    pictures.close()
    with pytest.raises(NoMorePicturesError):
        waiting.result(20)


class Failing(DatedCamera):
    """Gives its frames, then raises."""

    def __iter__(self):
        yield from super().__iter__()
        raise CameraError("cam: the driver is gone")


@pytest.mark.parametrize("kind", [Failing, DatedCamera])
def test_a_camera_that_failed_or_ended_is_opened_again(monkeypatch, kind) -> None:
    monkeypatch.setattr(reopening, "PAUSES_S", (0.2, 0.4))
    later = time.monotonic_ns()
    second = DatedCamera(10_000, 10_001, image=IMAGES[1])
    tries = iter([CameraError("cam: no answer"), KeyError("a mistake"), second])
    opened: list[float] = []

    def reopen():
        opened.append(time.monotonic())
        item = next(tries)
        if isinstance(item, Exception):
            raise item
        return item

    first = kind(10_000, image=IMAGES[0])
    with taker(first, reopen=reopen) as pictures:
        waiting = pictures.request(later)
        first.show(1)
        assert waiting.result(20).image[0, 0, 0] == 0
        wait_until(lambda: pictures._end is not None)
        with pytest.raises(CameraError, match="opening it again") as failed:
            pictures.request(later).result(20)
        assert not isinstance(failed.value, NoMorePicturesError)
        wait_until(lambda: len(opened) == 3 and pictures._end is None)
        waiting = pictures.request(later)
        second.show(1)
        assert waiting.result(20).image[0, 0, 0] == 1
        assert first._closed.is_set()
    assert opened[1] - opened[0] >= 0.4 and opened[2] - opened[1] >= 0.4
    assert second._closed.is_set()


def test_files_that_fail_are_not_opened_again() -> None:
    with taker(Replay(_gone()), reopen=lambda: pytest.fail("opened again")) as pictures:
        pictures.request(0).result(20)
        assert "line3: gone" in str(pictures.request(0).exception(20))
        time.sleep(0.05)


def test_closing_in_a_pause_and_while_it_is_opened(monkeypatch) -> None:
    monkeypatch.setattr(reopening, "PAUSES_S", (60.0,))
    pictures = taker(Failing(image=IMAGES[0]), reopen=lambda: pytest.fail("opened again"))
    wait_until(lambda: pictures._end is not None)
    begun = time.monotonic()
    pictures.close()
    assert time.monotonic() - begun < 3
    monkeypatch.setattr(reopening, "PAUSES_S", (0.0,))
    opening, go_on = threading.Event(), threading.Event()
    late = DatedCamera(image=IMAGES[0])

    def reopen():
        opening.set()
        assert go_on.wait(20)
        return late

    pictures = taker(Failing(image=IMAGES[0]), reopen=reopen)
    assert opening.wait(20)
    closing = threading.Thread(target=pictures.close)
    closing.start()
    wait_until(lambda: pictures._closed)
    go_on.set()
    closing.join()
    assert late._closed.is_set()
