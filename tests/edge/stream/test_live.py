"""Several real cameras: one is stopped, killed and comes back, and the other's verdicts go on."""

from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from cameras.connect import open_source
from edge.result import Result, Verdict
from edge.stream.loop import Camera, stream_cameras


@pytest.fixture(scope="module")
def servers():
    import servers

    return servers


class Watched:
    """A camera's verdicts, as they come."""

    def __init__(self) -> None:
        self.came = threading.Condition()
        self.results: list[Result] = []

    def __call__(self, frame, result: Result) -> None:
        with self.came:
            self.results.append(result)
            self.came.notify_all()

    def wait(self, verdict: Verdict, count: int = 3) -> None:
        """Until so many of a verdict have come from now on."""
        with self.came:
            begin = len(self.results)
            enough = self.came.wait_for(
                lambda: sum(r.verdict is verdict for r in self.results[begin:]) >= count, 90
            )
        assert enough, [r.verdict.value for r in self.results[begin:]]


def judge(frame) -> Result:
    """OK for what shows a picture."""
    verdict = Verdict.ERROR if frame.image is None else Verdict.OK
    return Result(
        frame.source, frame.index, frame.captured_at_ns, verdict, 0.1, 0.5, reason=frame.reason
    )


def camera(name: str, address: str, watched: Watched) -> Camera:
    @contextlib.contextmanager
    def opened():
        with open_source(address, stall_after=1.0) as source:
            yield source, judge

    return Camera(name=name, open=opened, threshold=0.5, live=True, on_result=watched)


def test_a_camera_that_stops_dies_and_comes_back_is_no_other_cameras_business(servers) -> None:
    ill, well, stop = Watched(), Watched(), threading.Event()
    with (
        servers.CameraProcess("http") as steady,
        contextlib.ExitStack() as stack,
    ):
        dying = stack.enter_context(servers.CameraProcess("http"))
        cameras = [camera("ill", dying.address, ill), camera("well", steady.address, well)]
        summaries: list[object] = []
        running = threading.Thread(
            target=lambda: summaries.append(stream_cameras(cameras, stop=stop)), daemon=True
        )
        running.start()
        well.wait(Verdict.OK)
        ill.wait(Verdict.OK)
        dying.signal(signal.SIGSTOP)
        ill.wait(Verdict.ERROR, 1)
        well.wait(Verdict.OK)
        dying.signal(signal.SIGCONT)
        ill.wait(Verdict.OK)
        dying.close()
        ill.wait(Verdict.ERROR, 1)
        well.wait(Verdict.OK)
        stack.enter_context(servers.CameraProcess("http", port=dying.port))
        ill.wait(Verdict.OK)
        stop.set()
        running.join(30)
        assert not running.is_alive()
    assert {r.camera for r in ill.results} == {"ill"}
    assert {r.source for r in well.results} == {f"http://***@127.0.0.1:{steady.port}/video"}
    assert all("Zq9secret" not in r.reason for r in ill.results)
    (summary,) = summaries
    assert summary.cameras["ill"].error >= 2
    assert summary.cameras["well"].ok > summary.cameras["well"].error


def test_one_camera_that_never_answers_keeps_no_other_from_starting(servers) -> None:
    ill, well, stop = Watched(), Watched(), threading.Event()
    with servers.Camera(servers.MuteHandler) as mute, servers.CameraProcess("http") as steady:
        cameras = [
            camera("ill", f"rtsp://127.0.0.1:{mute.port}/x", ill),
            camera("well", steady.address, well),
        ]
        running = threading.Thread(target=lambda: stream_cameras(cameras, stop=stop), daemon=True)
        running.start()
        well.wait(Verdict.OK, 20)
        ill.wait(Verdict.ERROR, 1)
        stop.set()
        running.join(30)
        assert not running.is_alive()
    assert "does not answer" in ill.results[0].reason
