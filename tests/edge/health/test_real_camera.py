"""A real camera on the loopback freezes, goes black and comes back: what its results say."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest

from cameras.connect import open_source
from cameras.frame import Frame
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.result import Result, Verdict, error_from_frame

PATIENT_S = 60.0  # this machine may be busy with other things


@pytest.fixture(scope="module")
def servers():
    pytest.importorskip("av", reason="av is not installed")
    import servers

    return servers


def ok(frame: Frame) -> Result:
    if frame.image is None:
        return error_from_frame(frame, threshold=0.5)
    return Result(frame.source, frame.index, 0, Verdict.OK, 0.1, 0.5, image=frame.image)


def held(picture: np.ndarray, *_: object) -> np.ndarray:
    return picture


@pytest.mark.soak  # in real time: on a busy machine the camera itself comes too late
@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_camera_that_freezes_is_told_and_believed_again(scheme, servers, monkeypatch) -> None:
    """MJPEG and H.264: the server goes on sending, but always the same picture."""
    drawn = servers.numbered
    random = np.random.default_rng(0)

    def seen(number: int, size: tuple[int, int] = servers.SIZE) -> np.ndarray:
        picture = drawn(number, size)
        return np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)

    monkeypatch.setattr(servers, "numbered", seen)
    handler = servers.MjpegHandler if scheme == "http" else servers.RtspHandler
    judge = FrameChecker(lambda: ImageChecks(None)).guard(ok)
    froze_s = told_s = thawed_s = None
    with (
        servers.Camera(handler) as camera,
        open_source(f"{scheme}://127.0.0.1:{camera.port}/video") as source,
    ):
        begun = time.monotonic()
        for frame in source:
            now = frame.monotonic_ns / 1e9
            result = judge(frame)
            assert now - begun < PATIENT_S, (froze_s, told_s, thawed_s, result.reason)
            if froze_s is None:
                assert "frozen" not in result.reason
                if now - begun > 9:
                    same = seen(camera.number())
                    monkeypatch.setattr(servers, "numbered", partial(held, same))
                    froze_s = now
            elif told_s is None:
                if result.reason.startswith("frozen: "):
                    told_s = now
            elif thawed_s is None:
                assert result.verdict is Verdict.ERROR
                if now - told_s > 3:
                    monkeypatch.setattr(servers, "numbered", seen)
                    thawed_s = now
            elif result.verdict is Verdict.OK:
                break
    assert froze_s is not None and told_s is not None and thawed_s is not None
    print(f"{scheme}: told after {told_s - froze_s:.2f} s, believed again {now - thawed_s:.2f} s")
