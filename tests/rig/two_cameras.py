"""Two cameras on one engine of a fake GPU, while the GPU is lost, comes back and is closed."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable

import numpy as np
from fake_cuda import PRIMARY, Machine
from fake_tensorrt import FakeTensorRt, opened, pictures, same

from engines.engine import PipelinedEngine
from engines.errors import EngineError
from engines.gpu.reopen import WAITS_S, ReopeningEngine
from engines.shared import SharedEngine

TURNS = 8
HUNG_S = 30.0


class TwoCameras:
    """One random interleaving; `play` raises what went wrong in any thread.

    With every other seed the plan is one for several images, and the cameras fill its batch.

    Args:
        seed: of all that is drawn.
        through: what CUDA is called through, `fake_pycuda.on_pycuda` for pycuda.

    Attributes:
        right: answers that were what the picture gives.
        errors: answers that were an `EngineError`.
    """

    def __init__(
        self, seed: int, through: Callable[[Machine], Machine] = lambda machine: machine
    ) -> None:
        self.draw = random.Random(seed)
        self.right = self.errors = 0
        self.now = 0.0
        self._together = 1 + seed % 2
        self._machine = through(Machine())
        self._wrong: list[BaseException] = []
        self._yields = random.Random(seed)
        self._machine.between_calls = self._let_others_in
        self._machine.gpu.before_touch = self._lose_or_go_on
        self._losses = 0  # none while the first engine is opened
        engine = ReopeningEngine(self._open, clock=lambda: self.now)
        self._shared = SharedEngine(engine, within_ms=self._together - 1)

    def play(self) -> None:
        self._losses = 3
        cameras = [
            threading.Thread(target=self._watch, args=(number, self._shared.share()))
            for number in range(2)
        ]
        for camera in cameras:
            camera.start()
        until = time.monotonic() + HUNG_S
        while any(camera.is_alive() for camera in cameras) and time.monotonic() < until:
            time.sleep(self.draw.random() * 1e-3)
            self.now += WAITS_S[-1]  # so that the next try is due
        if any(camera.is_alive() for camera in cameras):
            raise AssertionError("a camera's thread hangs")
        if self._wrong:
            raise self._wrong[0]
        gc.collect()
        if self._machine.gpu.lost:
            self._machine.gpu.forget(PRIMARY)
        self._machine.check()

    def _watch(self, number: int, share: PipelinedEngine) -> None:
        try:
            for turn in range(TURNS):
                images: np.ndarray = pictures(1, seed=number * 100 + turn)
                try:
                    assert same(share.infer(images), images), "an answer to another picture"
                    self.right += 1
                except EngineError:
                    self.errors += 1
                    time.sleep(3e-3)  # so that it may be opened again
            share.close()
        except BaseException as error:  # noqa: BLE001 - handed to the test's thread
            self._wrong.append(error)

    def _open(self, _progress: object) -> PipelinedEngine:
        together = self._together
        trt = FakeTensorRt(self._machine, batch=2 * together, any_number=together > 1)
        return opened(self._machine, trt, together=together)

    def _lose_or_go_on(self) -> None:
        """Lose the GPU while a thread is about to write into page-locked memory."""
        if self._losses and self._yields.random() < 0.3:
            self._losses -= 1
            self._machine.gpu.lost = self._yields.choice([700, 719, 214])
            time.sleep(1e-3)  # the other camera finds out first
        self._let_others_in()

    def _let_others_in(self) -> None:
        if self._yields.random() < 0.2:
            time.sleep(2e-4 * self._yields.random())
