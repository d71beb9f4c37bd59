"""TensorRT and TensorRT-RTX on an NVIDIA GPU: several batches in flight, all memory allocated once.

`engines.plans.find_or_compile` finds or makes the plan; here it is loaded and run. What one batch
in flight needs is in `engines.gpu.slot`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.batches import Signature, check_images, signature_from_input
from engines.cuda import Cuda, DeviceLostError, gpus
from engines.engine import EngineOptions, Images, LayerTime, Output, Ticket
from engines.errors import EngineError
from engines.gpu.context import GpuContext, Home
from engines.gpu.device_array import DeviceArray, DeviceImages
from engines.gpu.dlpack import DlpackArray, images_from_array
from engines.gpu.loaded_plan import LoadedPlan
from engines.gpu.slot import Slot
from engines.plans.find_or_compile import find_or_compile_plan
from engines.plans.flavours import import_flavour, unsupported_gpu_reason
from engines.plans.layers import executes
from engines.plans.log import quiet_logger
from engines.plans.plan import Plan

SLOTS = 2
"""Batches in flight: one computes while another is copied. A third helps where copies take long."""


@dataclass(frozen=True, slots=True)
class Libraries:
    """What an engine is run with.

    Attributes:
        cuda: the CUDA runtime and driver.
        trt: the module `tensorrt` or `tensorrt_rtx`.
    """

    cuda: Cuda
    trt: Any

    @classmethod
    def installed(cls, flavour: str) -> Libraries:
        """The ones of this machine.

        Raises:
            EngineError: one of them is missing or broken.
        """
        return cls(cuda=Cuda.installed(), trt=import_flavour(flavour))


class TensorRtEngine(AbstractContextManager["TensorRtEngine"]):
    """A plan, ready to run; a `PipelinedEngine` that takes images of the GPU as well.

    It uses the CUDA context that is current where it is made, see `engines.gpu.context.GpuContext`.

    Args:
        plan: checked, compiled for this GPU and this version.
        libraries: to run it with.
        device: the GPU's name, in words.
        slots: batches in flight at most.
        together: images that are computed at once, at most, of those that the plan takes.
        home: the GPU and context to use; None takes what is current.
        tell_layer: receives each layer's time of each call; there is no CUDA graph then.

    Attributes:
        home: where it works; for the one that is opened in its place.
        why_no_graph: why work is not launched as a CUDA graph; empty if it is.
        launches: what of a frame is launched, in words.
        notes: what a user should know of it, a line each; no line if all is as it should be.

    Raises:
        EngineError: no GPU, too little memory, or the plan does not load.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        libraries: Libraries,
        device: str = "",
        slots: int = SLOTS,
        together: int = 1,
        home: Home | None = None,
        tell_layer: Callable[[LayerTime], None] | None = None,
    ) -> None:
        if slots < 1:
            raise EngineError(f"{plan.flavour}: {slots} slots; give 1 or more")
        self.name = plan.flavour
        self.device = device
        self.executes = executes(plan.layers)
        self.slots = slots
        self.why_no_graph = ""
        self.launches = "one CUDA graph a frame"
        self.notes: list[str] = []
        self._cuda = libraries.cuda
        self._tell_layer = tell_layer
        self._lock = threading.Lock()
        self._free: list[Slot] = []
        self._all: list[Slot] = []
        self._busy: dict[Ticket, tuple[Slot, int]] = {}
        self._numbers = itertools.count()
        self._lost = False
        self._inside = 0
        self._closing = False
        self._plan: LoadedPlan | None = None
        gpu = GpuContext(self._cuda, home)
        self.home = gpu.home
        self._gpu: GpuContext | None = gpu
        try:
            with gpu:
                self._open(plan, libraries.trt, maps_input=gpu.maps_input, together=together)
        except BaseException as error:
            self._lost = isinstance(error, DeviceLostError)
            self._release()
            raise

    @classmethod
    def from_model(
        cls, model: bytes, *, flavour: str, options: EngineOptions, home: Home | None = None
    ) -> TensorRtEngine:
        """Run a graph: its plan from the folder if it fits, else compiled.

        Args:
            model: serialised ONNX, input `image` uint8 (N, H, W, 3).
            flavour: ``tensorrt`` or ``tensorrt-rtx``.
            options: `say` receives the reason when a plan is compiled, and the `notes`.
            home: the GPU and context to use; None takes what is current.

        Raises:
            EngineError: no library, no GPU, or it doesn't take the graph.
        """
        found = gpus()  # first: it says best what is wrong with a machine without a GPU
        libraries = Libraries.installed(flavour)
        # Held from before the compiler uses the GPU, so that it is known whose the context is.
        context = GpuContext(libraries.cuda, home)
        try:
            gpu = found[context.index]
            problem = unsupported_gpu_reason(flavour, gpu.compute_capability)
            if problem:
                raise EngineError(problem)
            with context:
                engine = find_or_compile_plan(
                    model,
                    flavour=flavour,
                    gpu=gpu,
                    options=options,
                    load=lambda plan: cls(
                        plan,
                        libraries=libraries,
                        device=gpu.name,
                        together=options.callers,
                        home=context.home,
                        tell_layer=options.tell_layer,
                    ),
                )
        except BaseException as error:
            context.close(lost=isinstance(error, DeviceLostError))
            raise
        context.close()
        if options.say is not None:
            for note in engine.notes:
                options.say(note)
        return engine

    def infer(self, images: Images | DeviceArray | DlpackArray) -> tuple[Output, ...]:
        """Run (N, H, W, 3) uint8 BGR images; see `Engine.infer`.

        Args:
            images: a numpy array, or an array of the GPU with ``__cuda_array_interface__``, as
                pycuda, CuPy, torch and Numba make them, or with ``__dlpack__`` alone.
        """
        with self._enter() as gpu:
            given = self._check(images, gpu)
            tickets: list[Ticket] = []
            results: list[tuple[Output, ...]] = []
            try:
                for start in range(0, len(given), self.batch):
                    if not self._free and len(results) < len(tickets):
                        results.append(self._collect(tickets[len(results)]))
                    tickets.append(self._submit(given[start : start + self.batch]))
                while len(results) < len(tickets):
                    results.append(self._collect(tickets[len(results)]))
            finally:
                self._forget(tickets)
        if len(results) == 1:
            return results[0]
        return tuple(np.concatenate(column) for column in zip(*results, strict=True))

    def submit(self, images: Images | DeviceArray | DlpackArray) -> Ticket:
        """Begin with at most `batch` images, of either kind; see `PipelinedEngine.submit`.

        Images of the GPU must stay as they are until the ticket is collected, unless they are
        written on the stream that their interface names.
        """
        with self._enter() as gpu:
            given = self._check(images, gpu)
            if len(given) > self.batch:
                raise EngineError(
                    f"{self.name}: {len(given)} images, and a ticket takes {self.batch}; "
                    "submit them in parts, or use infer"
                )
            return self._submit(given)

    def collect(self, ticket: Ticket) -> tuple[Output, ...]:
        """Wait for a ticket; see `PipelinedEngine.collect`."""
        with self._enter():
            return self._collect(ticket)

    def close(self) -> None:
        """Wait for what is in flight and release everything; a second call does nothing.

        While another thread is inside a call, nothing is taken from under it: calls that come now
        fail, and the last thread to leave releases everything.

        Raises:
            EngineError: the GPU's memory cannot be released, though the GPU works.
        """
        with self._lock:
            self._closing = True
            last = not self._inside
        if last:
            self._release()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, plan: Plan, trt: Any, *, maps_input: bool, together: int) -> None:
        log = quiet_logger(trt)
        loaded = LoadedPlan(plan, trt=trt, log=log, cuda=self._cuda, together=together)
        self._plan = loaded
        self._signature: Signature = signature_from_input(
            loaded.image.name,
            dtype=loaded.image_type,
            shape=loaded.image.shape,
            outputs=[output.name for output in loaded.outputs],
            where=self.name,
        )
        self.outputs: Sequence[str] = self._signature.outputs
        self.size = self._signature.size
        self.batch = self._signature.batch
        for _ in range(self.slots):
            slot = Slot(
                self._cuda,
                {count: loaded.execution(count, self._tell_layer) for count in loaded.counts},
                image=loaded.image,
                outputs=loaded.outputs,
                maps_input=maps_input,
            )
            self._all.append(slot)
        self._free = list(self._all)
        self.why_no_graph = self._all[0].why_no_graph
        if self.why_no_graph:
            self.launches = f"call by call: {self.why_no_graph}"
            self.notes.append(f"{self.name}: runs without our CUDA graph: {self.why_no_graph}")
        problem = loaded.keep_kernels()
        if problem:
            self.notes.append(f"{self.name}: the compiled kernels are not kept: {problem}")

    @contextmanager
    def _enter(self) -> Iterator[GpuContext]:
        """The context made current, for a thread that is counted as inside until it leaves."""
        with self._lock:
            gpu = self._gpu
            if gpu is None or self._closing:
                raise EngineError(f"{self.name}: the engine is closed; open it again")
            self._refuse_if_lost()
            self._inside += 1
        try:
            with gpu:
                yield gpu
        finally:
            with self._lock:
                self._inside -= 1
                last = self._closing and not self._inside
            if last:
                self._release()

    def _refuse_if_lost(self) -> None:
        if self._lost:
            raise DeviceLostError(f"{self.name}: the GPU was lost; close the engine, open it again")

    def _check(
        self, images: Images | DeviceArray | DlpackArray, gpu: GpuContext
    ) -> Images | DeviceImages:
        taken: Images | DeviceImages
        if isinstance(images, np.ndarray):
            taken = images
        else:
            taken = images_from_array(
                images, size=self.size, device=gpu, cuda=self._cuda, where=self.name
            )
        if not isinstance(taken, DeviceImages):
            check_images(taken, self._signature, where=self.name)
        return taken

    def _submit(self, images: Images | DeviceImages) -> Ticket:
        with self._lock:
            self._refuse_if_lost()  # another thread may have found out meanwhile
            if not self._free:
                raise EngineError(
                    f"{self.name}: all {self.slots} slots are in flight; collect a ticket first"
                )
            slot = self._free.pop()
        try:
            if isinstance(images, DeviceImages):
                slot.start_on_device(images)
            else:
                slot.start(images)
        except BaseException as error:
            with self._lock:
                self._lost = self._lost or isinstance(error, DeviceLostError)
                self._free.append(slot)
            raise
        with self._lock:
            ticket = Ticket(next(self._numbers))
            self._busy[ticket] = (slot, len(images))
        return ticket

    def _collect(self, ticket: Ticket) -> tuple[Output, ...]:
        with self._lock:
            if ticket not in self._busy:
                raise EngineError(f"{self.name}: ticket {ticket} is not in flight; collect it once")
            slot, count = self._busy.pop(ticket)
        lost = False
        try:
            return tuple(slot.finish(count))
        except DeviceLostError:
            lost = True
            raise
        finally:
            with self._lock:
                self._lost = self._lost or lost
                self._free.append(slot)

    def _forget(self, tickets: Sequence[Ticket]) -> None:
        """Wait for what a failed `infer` left in flight; the first error is on its way already."""
        for ticket in tickets:
            if ticket in self._busy:
                try:
                    self._collect(ticket)
                except EngineError:
                    continue

    def _release(self) -> None:
        """Release slots, plan and context, whatever fails; raises the first error."""
        with self._lock:
            gpu, self._gpu = self._gpu, None
        if gpu is None:
            return
        lost = self._lost
        slots, self._all, self._free, self._busy = self._all, [], [], {}
        plan, self._plan = self._plan, None
        first: EngineError | None = None
        with ExitStack() as leaving:
            leaving.callback(lambda: gpu.close(lost=lost))
            leaving.enter_context(gpu)
            for slot in slots:
                try:
                    slot.close(lost=lost)
                except DeviceLostError:
                    lost = True  # found out only now; what was on it is gone
                except EngineError as error:
                    first = first or error
            if plan is not None:
                plan.close()
        if first is not None:
            raise first
