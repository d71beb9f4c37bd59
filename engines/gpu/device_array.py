"""Images that are on the GPU already: arrays of pycuda, CuPy, torch and Numba, without a copy.

They offer ``__cuda_array_interface__``, version 3 of which is described in Numba's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from engines.batches import CHANNELS
from engines.cuda import Cuda
from engines.errors import EngineError
from engines.gpu.context import GpuContext

LEGACY_STREAM = 1
ALIGNMENT = 256
"""Bytes: what ``cudaMalloc`` gives, and kernels may count on. Images elsewhere are copied once."""


@runtime_checkable
class DeviceArray(Protocol):
    """An array in a GPU's memory."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class DeviceImages:
    """Images in the GPU's memory, checked.

    Attributes:
        address: of the first byte.
        shape: (N, H, W, 3); uint8, contiguous.
        stream: CUDA stream on which they may still be being written; None if nobody writes.
        owner: keeps the memory alive.
    """

    address: int
    shape: tuple[int, int, int, int]
    stream: int | None
    owner: object

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> DeviceImages:
        """Images `part.start` to `part.stop`; no step."""
        start, stop, _ = part.indices(len(self))
        _, height, width, channels = self.shape
        return DeviceImages(
            address=self.address + start * height * width * channels,
            shape=(stop - start, height, width, channels),
            stream=self.stream,
            owner=self.owner,
        )


@dataclass(frozen=True, slots=True)
class GivenImages:
    """What an array's maker says of it, by whichever protocol.

    Attributes:
        address: of the first byte.
        shape: (N, H, W, 3) or (H, W, 3), if it is right.
        strides: in bytes; None is C-contiguous.
        type_name: as its maker calls it.
        is_bytes: that is uint8.
        stream: CUDA stream on which it may still be being written; None if nobody writes.
        owner: keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    type_name: str
    is_bytes: bool
    stream: int | None
    owner: object


def images_from_device(
    array: DeviceArray, *, size: tuple[int, int], device: GpuContext, cuda: Cuda, where: str
) -> DeviceImages:
    """Check an array and look up whose memory it is; nothing is copied or waited for.

    Args:
        array: (N, H, W, 3) uint8 BGR, C-contiguous, N >= 1; or one image, (H, W, 3). In memory of
            the GPU, or of the host mapped for it, as jetson-utils' `cudaImage` is.
        size: (height, width) that the graph takes.
        device: that must be able to read it.
        cuda: the libraries; the device's context is current.
        where: the engine's name, for the message.

    Raises:
        EngineError: another shape, type, layout or order of colours, or memory of another GPU or
            context.
    """
    check_colours(array, where)
    said = array.__cuda_array_interface__
    strides = said.get("strides")
    if said.get("mask") is not None:
        raise EngineError(f"{where}: device images must have no mask")
    given = GivenImages(
        address=int(said["data"][0]),
        shape=tuple(int(length) for length in said["shape"]),
        strides=None if strides is None else tuple(int(step) for step in strides),
        type_name=str(said["typestr"]),
        is_bytes=said["typestr"] in ("|u1", "<u1", ">u1"),
        stream=_stream(said, where),
        owner=array,
    )
    return check_given(given, size=size, device=device, cuda=cuda, where=where)


def check_given(
    given: GivenImages, *, size: tuple[int, int], device: GpuContext, cuda: Cuda, where: str
) -> DeviceImages:
    """Check what an array's maker says of it; see `images_from_device`."""
    shape, strides = given.shape, given.strides
    if len(shape) == 3:
        shape = (1, *shape)
        strides = None if strides is None else (0, *strides)  # of one image, any will do
    height, width = size
    wanted = (height, width, CHANNELS)
    if not given.is_bytes:
        raise EngineError(f"{where}: device images must be uint8 (|u1), not {given.type_name}")
    if len(shape) != 4 or shape[0] < 1 or shape[1:] != wanted:
        raise EngineError(
            f"{where}: device images must be (N, {height}, {width}, 3) or ({height}, {width}, 3), "
            f"not {given.shape}; resize them to the model's size first"
        )
    contiguous = (height * width * CHANNELS, width * CHANNELS, CHANNELS, 1)
    if strides is not None and _stepping(shape, strides) != _stepping(shape, contiguous):
        raise EngineError(f"{where}: device images must be C-contiguous, not of strides {strides}")
    return DeviceImages(
        address=_address_on(device, given.address, cuda=cuda, where=where),
        shape=(shape[0], height, width, CHANNELS),
        stream=given.stream,
        owner=given.owner,
    )


def check_colours(array: object, where: str) -> None:
    """Refuse what names its order of colours and has another one; most arrays name none."""
    order = getattr(array, "format", "")
    if isinstance(order, str) and order.lower().startswith("rgb"):
        raise EngineError(
            f"{where}: the images are {order} and must be BGR; convert them (with jetson-utils: "
            "cudaConvertColor into an image of format bgr8)"
        )


def _stepping(shape: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """The strides that matter: those of a dimension of length 1 may be anything."""
    return [step for step, length in zip(strides, shape, strict=True) if length > 1]


def _stream(given: dict[str, Any], where: str) -> int | None:
    """The stream to wait for.

    Before version 3 the interface had no stream (torch still gives version 2): there the default
    stream is waited for, where such libraries work unless told otherwise.
    """
    if int(given.get("version", 0)) < 3:
        return LEGACY_STREAM
    stream = given.get("stream")
    if stream == 0:
        raise EngineError(
            f"{where}: stream 0 is ambiguous in __cuda_array_interface__; give 1 or 2"
        )
    return None if stream is None else int(stream)


def _address_on(device: GpuContext, address: int, *, cuda: Cuda, where: str) -> int:
    """Where the GPU reads what an array says is at `address`."""
    kinds = cuda.runtime.cudaMemoryType
    found = cuda.run("cudaPointerGetAttributes", address)
    mapped = found.type == kinds.cudaMemoryTypeHost and int(found.devicePointer or 0)
    if not mapped and found.type not in (kinds.cudaMemoryTypeDevice, kinds.cudaMemoryTypeManaged):
        raise EngineError(
            f"{where}: {address:#x} is not memory of a GPU; give host images as numpy"
        )
    if int(found.device) != device.index:
        raise EngineError(
            f"{where}: the images are on GPU {int(found.device)}, the engine on {device.index}; "
            "open it where that GPU's context is current"
        )
    attribute = cuda.driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_CONTEXT
    context = int(cuda.drive("cuPointerGetAttribute", attribute, address) or 0)
    # Memory of pools belongs to no context, and is open to all of its GPU.
    if context and context != device.context:
        raise EngineError(
            f"{where}: the images are in another CUDA context; open the engine where that is "
            "current (with pycuda: after `import pycuda.autoprimaryctx` or `autoinit`)"
        )
    return int(found.devicePointer) if mapped else address
