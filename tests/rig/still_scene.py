"""A camera before a still scene, its encoder, and when it is taken for frozen."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from edge.health.frozen import FreezeDetector

FPS = 30
WIDTH, HEIGHT = 320, 240
Source = Callable[[float], np.ndarray]  # seconds to picture


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
    """H.264 as cameras send it, encoded and decoded again; with a fixed quality, or rate."""

    def __init__(self, *, gop: int, crf: int = 36, kbits: int | None = None) -> None:
        av = pytest.importorskip("av", reason="av is not installed")
        self._av = av
        self._encoder = av.CodecContext.create("libx264", "w")
        self._encoder.width, self._encoder.height = WIDTH, HEIGHT
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.time_base = Fraction(1, FPS)
        self._encoder.framerate = Fraction(FPS)
        self._encoder.gop_size = gop
        self._encoder.thread_count = 1
        rate = {"b": f"{kbits}k", "maxrate": f"{kbits}k", "bufsize": f"{kbits}k"}
        self._encoder.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x264-params": f"keyint={gop}:scenecut=0",
            **(rate if kbits else {"crf": str(crf)}),
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
    source: Source, *, seconds: float, fps: float = FPS, frozen: FreezeDetector | None = None
) -> list[float]:
    """Seconds at which a picture was called frozen."""
    frozen = frozen or FreezeDetector()
    times = [index / fps for index in range(round(seconds * fps))]
    return [t for t in times if frozen.find_problem(source(t), round(t * 1e9))]


def until(times: list[float], *, step: float = 1.5 / FPS) -> list[tuple[float, float]]:
    """Alarms that follow each other, as (begin, end)."""
    found: list[tuple[float, float]] = []
    for t in times:
        if found and t - found[-1][1] <= step:
            found[-1] = (found[-1][0], t)
        else:
            found.append((t, t))
    return found
