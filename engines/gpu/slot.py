"""One batch in flight on a GPU: its own stream, memory and CUDA graph; upload, compute, download.

Frames overlap because each slot has its own stream: while one computes, the copy engines upload
the next and download the one before. In the steady state a slot costs three calls a batch: copy
the images into page-locked memory, launch the graph, wait for the event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from engines.buffer_pool import BufferPool
from engines.cuda import Cuda, DeviceLostError
from engines.engine import Images, Output
from engines.errors import EngineError
from engines.gpu.device_array import ALIGNMENT, DeviceImages
from engines.gpu.loaded_plan import Tensor, TensorRtExecution
from engines.gpu.memory import Buffer, Resources


@dataclass(slots=True)
class _Way:
    """How so many images are computed at once.

    Attributes:
        count: of images.
        execution: computes them.
        graph: upload, computation and download in one; None where each is issued by itself.
    """

    count: int
    execution: TensorRtExecution
    graph: Any = None


class Slot:
    """Memory, stream and graphs for one batch; everything is allocated and tried out at birth.

    A plan for several images has two ways: one for a single image, which need not wait for the
    arithmetic of a whole batch, and one for all others. All methods need the engine's context to
    be current.

    Args:
        cuda: the libraries.
        executions: compute, by the number of images, the least first; bound to this slot's memory
            here.
        image: the input, uint8 (N, H, W, 3).
        outputs: in the order of the graph.
        maps_input: the GPU reads the images where the host wrote them.

    Attributes:
        why_no_graph: why each call is issued one by one; empty if a CUDA graph is launched.
    """

    def __init__(
        self,
        cuda: Cuda,
        executions: Mapping[int, TensorRtExecution],
        *,
        image: Tensor,
        outputs: Sequence[Tensor],
        maps_input: bool,
    ) -> None:
        self._cuda = cuda
        self._ways = [_Way(count, execution) for count, execution in executions.items()]
        self._resources = Resources(cuda)
        self._captured = Resources(cuda)
        self._stream: Any = None
        self._guest: object = None
        self._bound_elsewhere: TensorRtExecution | None = None
        self.why_no_graph = ""
        try:
            self._allocate(image, outputs, maps_input=maps_input)
            self._try_out()
        except BaseException as error:
            self.close(lost=isinstance(error, DeviceLostError))
            raise

    def start(self, images: Images) -> None:
        """Begin with host images, at most the batch; they are copied before this returns.

        Raises:
            EngineError: the device refused, and the slot is idle again.
        """
        count, way = len(images), self._way(len(images))
        np.copyto(self._image.host[:count], images, casting="no")
        if count < way.count:
            np.copyto(self._image.host[count : way.count], images[-1], casting="no")
        self._begin(way, partial(self._upload, way), graph=way.graph)

    def start_on_device(self, images: DeviceImages) -> None:
        """Begin with images that the GPU has; they may be overwritten once the slot is finished.

        A whole, aligned batch is read where it is. What their own stream gets from now on runs
        after they were read.

        Raises:
            EngineError: the device refused, and the slot is idle again.
        """
        way = self._way(len(images))
        self._guest = images.owner
        if len(images) == way.count and images.address % ALIGNMENT == 0:
            self._bound_elsewhere = way.execution
            way.execution.bind(self._image.name, images.address)
            self._begin(way, lambda: None, after=images.stream)
        else:
            self._begin(way, partial(self._copy_on_device, images, way), after=images.stream)

    def finish(self, count: int) -> list[Output]:
        """Wait for the results of the first `count` images; the arrays are the caller's.

        Raises:
            EngineError: the device failed.
        """
        try:
            self._cuda.run("cudaEventSynchronize", self._done)
        except BaseException as error:
            if not isinstance(error, DeviceLostError):
                self._drain()  # or the next batch would meet this one's
            raise
        finally:
            self._guest = None
        return [
            pool.copy(buffer.host[:count])
            for buffer, pool in zip(self._outputs, self._pools, strict=True)
        ]

    def close(self, *, lost: bool = False) -> None:
        """Wait for what is in flight and release everything; a second call does nothing.

        Args:
            lost: there is nothing to wait for any more.

        Raises:
            DeviceLostError: the device is lost, which nobody knew; all is released.
            EngineError: CUDA refused to release something of a working device.
        """
        stream, self._stream = self._stream, None
        try:
            if stream is not None and not lost:
                self._cuda.run("cudaStreamSynchronize", stream)
        finally:
            # A graph uses the memory of the execution, the execution that of the buffers.
            self._captured.release()
            for way in self._ways:
                way.graph = None
                way.execution.close()
            self._resources.release()

    def _allocate(self, image: Tensor, outputs: Sequence[Tensor], *, maps_input: bool) -> None:
        own = self._resources
        self._stream = own.stream()
        self._batch = image.shape[0]
        self._done, self._ready, self._read = own.event(), own.event(), own.event()
        self._image = own.buffer(image.name, image.shape, image.dtype, mapped=maps_input)
        self._outputs = [own.buffer(each.name, each.shape, each.dtype) for each in outputs]
        self._pools = [BufferPool(each.shape, each.dtype) for each in outputs]
        for way in self._ways:
            for buffer in (self._image, *self._outputs):
                way.execution.bind(buffer.name, buffer.device)

    def _try_out(self) -> None:
        """Run each way once, which allocates and loads kernels, and then capture what it did."""
        self._image.host[...] = 0
        for way in self._ways:
            self._issue(way, partial(self._upload, way))
            self._cuda.run("cudaStreamSynchronize", self._stream)
            self.why_no_graph = self.why_no_graph or self._capture(way)

    def _capture(self, way: _Way) -> str:
        """Make a graph of what is issued for so many images; returns why it can't be."""
        if way.execution.capture_problem:
            return way.execution.capture_problem
        try:
            issue = partial(self._issue, way, partial(self._upload, way))
            way.graph = self._captured.graph(self._stream, issue)
        except DeviceLostError:
            raise
        except EngineError as error:
            return str(error)
        return ""

    def _way(self, count: int) -> _Way:
        """For so many images: the first that is wide enough."""
        return next(way for way in self._ways if way.count >= count)

    def _begin(
        self,
        way: _Way,
        bring: Callable[[], None],
        *,
        after: int | None = None,
        graph: Any = None,
    ) -> None:
        """Put one batch on the stream; on any failure the stream is drained first.

        Args:
            way: that computes it.
            bring: puts the images where the execution is bound to.
            after: stream that `bring` or the execution has to wait for.
            graph: does all of it in one call.
        """
        cuda, stream = self._cuda, self._stream
        try:
            if after is not None:
                cuda.run("cudaEventRecord", self._ready, after)
                cuda.run("cudaStreamWaitEvent", stream, self._ready, 0)
            if graph is not None:
                cuda.run("cudaGraphLaunch", graph, stream)
            else:
                self._issue(way, bring, read_by=after)
            cuda.run("cudaEventRecord", self._done, stream)
        except BaseException as error:
            self._guest = None
            if not isinstance(error, DeviceLostError):
                self._drain()
            raise
        finally:
            self._bind_own()

    def _issue(self, way: _Way, bring: Callable[[], None], read_by: int | None = None) -> None:
        bring()
        way.execution.enqueue(int(self._stream))
        if read_by is not None:
            # The images may be overwritten on that stream, after this one has read them.
            self._cuda.run("cudaEventRecord", self._read, self._stream)
            self._cuda.run("cudaStreamWaitEvent", read_by, self._read, 0)
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        for buffer in self._outputs:
            size = self._size_of(buffer, way.count)
            self._copy(buffer.address, buffer.device, size, kind)

    def _upload(self, way: _Way) -> None:
        if not self._image.mapped:
            kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
            size = self._size_of(self._image, way.count)
            self._copy(self._image.device, self._image.address, size, kind)

    def _copy_on_device(self, images: DeviceImages, way: _Way) -> None:
        """Gather part of a batch, or images that begin anywhere; the last one fills it up."""
        # Default: the input may be mapped host memory, and CUDA knows each address.
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDefault
        count, one = len(images), self._size_of(self._image, 1)
        self._copy(self._image.device, images.address, count * one, kind)
        last = images.address + (count - 1) * one
        for index in range(count, way.count):
            self._copy(self._image.device + index * one, last, one, kind)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        self._cuda.run("cudaMemcpyAsync", target, source, size, kind, self._stream)

    def _size_of(self, buffer: Buffer, count: int) -> int:
        """Bytes of so many images' share of a buffer."""
        return buffer.size // self._batch * count

    def _bind_own(self) -> None:
        """Bind the input to the slot's own memory again; what is in flight isn't touched by it."""
        execution, self._bound_elsewhere = self._bound_elsewhere, None
        if execution is not None:
            execution.bind(self._image.name, self._image.device)

    def _drain(self) -> None:
        """Wait until nothing of this slot runs any more.

        Raises:
            EngineError: the device failed meanwhile; `DeviceLostError` where it won't come back.
        """
        self._cuda.run("cudaStreamSynchronize", self._stream)
