"""Claims that take a while: two cameras without growth, and a GPU that is lost and comes back."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge.prove.errors import DisprovenError
from edge.prove.ground import ProvingGround
from engines.choose import open_engine
from engines.cuda import Cuda
from engines.engine import Engine, Output
from engines.errors import EngineError
from engines.gpu.context import GpuContext
from engines.gpu.engine import Libraries
from engines.shared import SharedEngine
from process.threads import GuardedThread

CAMERAS = 2
WARM_UP_SHARE = 0.2
MAX_GROWTH_MIB = 32.0
"""Of the GPU or the host: caches fill, other programs come; a leak of 1 KiB a frame is more."""
MIB = 1 << 20
RETRY_S = 0.05
STRAY = b"""
.version 6.3
.target sm_75
.address_size 64
.visible .entry stray()
{
    .reg .b64 %place;
    .reg .b32 %value;
    mov.u64 %place, 8;
    mov.u32 %value, 1;
    st.global.u32 [%place], %value;
    ret;
}
\0"""
"""A kernel that writes where no memory is, as the driver's own compiler takes it."""


def prove_two_cameras(ground: ProvingGround) -> str:
    """Prove that two cameras on one engine get right answers, and that nothing grows."""
    ground.engine("fp16")
    watch = _Watch(ground)
    growth = watch.run(ground.seconds)
    told = ", ".join(f"{where} {mib:+.1f} MiB" for where, mib in growth.items())
    seen = f"{CAMERAS} cameras, {ground.seconds:g} s, {watch.frames} frames, {told}"
    if watch.wrong or not watch.frames:
        raise DisprovenError(f"{seen}: {next(iter(watch.wrong), 'no frame was answered')}")
    if max(growth.values()) > MAX_GROWTH_MIB:
        raise DisprovenError(
            f"{seen}, {MAX_GROWTH_MIB:g} may be", "close what else uses the GPU, then try again"
        )
    return seen


def prove_revival(ground: ProvingGround) -> str:
    """Prove that an engine whose GPU was lost says so, is opened again, and is right again."""
    ground.engine("fp16")
    subject = ground.subject("fp16")
    ground.close()  # a context is made anew only if nobody else has it
    image, options = subject.images[:1], ground.options(subject)
    with open_engine(subject.model, engine=ground.flavour, options=options) as engine:
        before = engine.infer(image)
        lose_context(Libraries.installed(ground.flavour).cuda)
        begun = time.monotonic()
        errors, after = _answers_until(engine, image, begun + ground.revival_s)
        seconds = time.monotonic() - begun
    if not errors:
        raise DisprovenError("a kernel that writes where no memory is was no error")
    if after is None:
        raise DisprovenError(
            f"it did not come back in {ground.revival_s:g} s ({errors[-1]})",
            "have the program restarted after such a loss, as with Restart=on-failure in systemd",
        )
    if not _equal(before, after):
        raise DisprovenError("it came back, and its answer is another one")
    return f"{len(errors)} errors, right again after {seconds:.1f} s"


def lose_context(cuda: Cuda) -> None:
    """Spoil the GPU's context by a kernel that writes astray; the loss is for others to find."""
    context = GpuContext(cuda)
    try:
        with context:
            module = cuda.drive("cuModuleLoadData", STRAY)
            kernel = cuda.drive("cuModuleGetFunction", module, b"stray")
            cuda.drive("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0)
    finally:
        context.close(lost=False)


def _answers_until(
    engine: Engine, image: Output, deadline: float
) -> tuple[list[EngineError], tuple[Output, ...] | None]:
    errors: list[EngineError] = []
    while time.monotonic() < deadline:
        try:
            answer = engine.infer(image)
        except EngineError as error:
            errors.append(error)
            time.sleep(RETRY_S)
        else:
            if errors:
                return errors, answer
    return errors, None


@dataclass(slots=True, eq=False)
class _Watch:
    """Two cameras in threads of their own, and what they saw."""

    ground: ProvingGround
    frames: int = 0
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float) -> dict[str, float]:
        """Run, and say by how many MiB the memory of GPU and host grew after warming up."""
        subject = self.ground.subject("fp16")
        engine = self.ground.open(subject)
        wanted = [engine.infer(image[None]) for image in subject.images]
        shared = SharedEngine(engine)
        with shared.share():  # so that it is still open when memory is looked at
            threads = [self._camera(number, shared.share(), wanted) for number in range(CAMERAS)]
            for thread in threads:
                thread.start()
            self._over.wait(seconds * WARM_UP_SHARE)
            before = self._used()
            self._over.wait(seconds * (1 - WARM_UP_SHARE))
            self._over.set()
            for thread in threads:
                thread.join()
            after = self._used()
        return {where: after[where] - before[where] for where in after}

    def _camera(
        self, number: int, share: Engine, wanted: list[tuple[Output, ...]]
    ) -> GuardedThread:
        def look() -> None:
            try:
                with share:
                    self._look(share, wanted, first=number)
            except Exception as error:  # noqa: BLE001  # the border of a thread: it is told
                self.wrong.append(f"camera {number}: {type(error).__name__}: {error}")
                self._over.set()

        return GuardedThread(look, name=f"camera {number}", goes_on=False)

    def _look(self, engine: Engine, wanted: list[tuple[Output, ...]], *, first: int) -> None:
        """Go through the pictures until it is over, and one more."""
        images, at, is_last = self.ground.subject("fp16").images, first, False
        while not is_last:
            is_last = self._over.is_set()
            at = (at + 1) % len(images)
            if not _equal(engine.infer(images[at][None]), wanted[at]):
                raise DisprovenError("it got the answer to another picture")
            with self._counting:
                self.frames += 1

    def _used(self) -> dict[str, float]:
        """MiB in use."""
        cuda = Libraries.installed(self.ground.flavour).cuda
        context = GpuContext(cuda)
        try:
            with context:
                free, total = cuda.run("cudaMemGetInfo")
        finally:
            context.close()
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        host = resident * os.sysconf("SC_PAGE_SIZE")
        return {"GPU": (total - free) / MIB, "host": host / MIB}


def _equal(one: tuple[Output, ...], other: tuple[Output, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
