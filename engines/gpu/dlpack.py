"""Images that are handed over by DLPack alone: PyTorch, JAX, DALI, and whoever else keeps to it.

The protocol is described in DLPack's documentation and in Python's array API standard. A capsule is
taken once, and renamed then so that nobody takes it again. What it holds is given back by one call
of its maker's, after the last image of it was read.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np

from engines.cuda import Cuda
from engines.engine import Images
from engines.errors import EngineError
from engines.gpu.context import GpuContext
from engines.gpu.device_array import (
    LEGACY_STREAM,
    DeviceArray,
    DeviceImages,
    GivenImages,
    check_colours,
    check_given,
    images_from_device,
)

T = TypeVar("T")
CPU, GPU, PINNED, MANAGED = 1, 2, 3, 13
"""Of ``DLDeviceType``: the host's memory, CUDA's, the host's that CUDA locked, and both's."""
NEWEST = (1, 0)
"""Version of DLPack that is asked for; makers from before it give what they have."""
_UNSIGNED = 1  # of ``DLDataTypeCode``
_VERSIONED = b"dltensor_versioned"
# Python keeps no copy of a capsule's name: these stay for as long as any capsule does.
_USED = {b"dltensor": b"used_dltensor", _VERSIONED: b"used_dltensor_versioned"}
_MOST_AXES = 4


@runtime_checkable
class DlpackArray(Protocol):
    """An array that says where it is, and hands its memory over."""

    def __dlpack_device__(self) -> tuple[int, int]: ...

    def __dlpack__(self, *, stream: int | None = None) -> object: ...


class _DlTensor(ctypes.Structure):  # ``DLTensor``
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("axes", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


class _DlManaged(ctypes.Structure):  # ``DLManagedTensor``
    _fields_ = (
        ("tensor", _DlTensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class _DlVersioned(ctypes.Structure):  # ``DLManagedTensorVersioned``
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _DlTensor),
    )


_is_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)
_pointer_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_SetName", ctypes.pythonapi)
)
# With Python's lock held, as NumPy calls it: not every maker takes the lock by itself.
_Deleter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


def images_from_array(
    array: object,
    *,
    size: tuple[int, int],
    device: GpuContext,
    cuda: Cuda,
    where: str,
) -> Images | DeviceImages:
    """Take images over by whichever protocol their maker has; see `images_from_dlpack`.

    Something that is no array at all is given back as it is, to be refused as host images are.
    """
    # torch's arrays of the host have that attribute too, and raise when it is asked for.
    if _ask(lambda: getattr(array, "__cuda_array_interface__", None), where) is not None:
        shown = cast(DeviceArray, array)
        return images_from_device(shown, size=size, device=device, cuda=cuda, where=where)
    if isinstance(array, DlpackArray):
        return images_from_dlpack(array, size=size, device=device, cuda=cuda, where=where)
    return cast(Images, array)


def images_from_dlpack(
    array: DlpackArray, *, size: tuple[int, int], device: GpuContext, cuda: Cuda, where: str
) -> Images | DeviceImages:
    """Take images over; what is on a GPU is neither copied nor waited for here.

    Args:
        array: (N, H, W, 3) or (H, W, 3) uint8 BGR, in memory of CUDA or of the host.
        size: (height, width) that the graph takes.
        device: that must be able to read it.
        cuda: the libraries; the device's context is current.
        where: the engine's name, for the message.

    Returns:
        Images of the GPU, checked; of the host's memory an array that is still to be checked.

    Raises:
        EngineError: neither CUDA's memory nor the host's; its maker refuses; another shape, type
            or layout; or memory of another GPU or context.
    """
    check_colours(array, where)
    kind, number = (int(value) for value in _ask(array.__dlpack_device__, where))
    if kind in (CPU, PINNED):
        host = cast(Images, _ask(lambda: np.from_dlpack(cast(Any, array)), where))
        return host[None] if host.ndim == _MOST_AXES - 1 else host
    if kind not in (GPU, MANAGED):
        raise EngineError(
            f"{where}: the images are on a device of DLPack's type {kind}; give them in memory of "
            "CUDA or of the host"
        )
    if kind == GPU and number != device.index:
        raise EngineError(
            f"{where}: the images are on GPU {number}, the engine on {device.index}; open it "
            "where that GPU's context is current"
        )
    taken = _Taken(_ask(lambda: _capsule_of(array), where), where)
    try:
        return check_given(taken.given(where), size=size, device=device, cuda=cuda, where=where)
    except BaseException:
        taken.give_back()
        raise


class _Taken:
    """What a capsule held; given back once, with the last reference at the latest.

    Args:
        capsule: what ``__dlpack__`` gave.
        where: the engine's name, for the message.

    Attributes:
        give_back: to its maker, at once; a second call does nothing.

    Raises:
        EngineError: it is no capsule of DLPack's, was taken before, or is of a newer version.
    """

    def __init__(self, capsule: object, where: str) -> None:
        name = next((each for each in _USED if _is_capsule(capsule, each)), None)
        if name is None:
            raise EngineError(
                f"{where}: the images' __dlpack__ gave no capsule that can be taken; it must make "
                "a new one each time"
            )
        address = _pointer_in(capsule, name)
        _rename(capsule, _USED[name])  # from here on it is ours to give back
        managed = (_DlVersioned if name == _VERSIONED else _DlManaged).from_address(address)
        self.give_back = weakref.finalize(self, _delete, managed.deleter, address)
        self.give_back.atexit = False  # its maker may be gone by then
        major = managed.major if name == _VERSIONED else 0
        if major > NEWEST[0]:
            self.give_back()
            raise EngineError(
                f"{where}: the images are of DLPack {major}, and this reads up to {NEWEST[0]}"
            )
        self._tensor = managed.tensor

    def given(self, where: str) -> GivenImages:
        """What is said of it; in its maker's memory, so only until it is given back."""
        tensor = self._tensor
        axes = tensor.axes
        if not 0 < axes <= _MOST_AXES:
            raise EngineError(f"{where}: device images must have 3 or 4 dimensions, not {axes}")
        plain = (tensor.code, tensor.bits, tensor.lanes) == (_UNSIGNED, 8, 1)
        strides = tuple(tensor.strides[:axes]) if tensor.strides else None
        return GivenImages(
            address=(tensor.data or 0) + tensor.offset,
            shape=tuple(tensor.shape[:axes]),
            strides=strides,  # in elements, which are bytes here
            type_name="uint8" if plain else f"DLPack's type {tensor.code} of {tensor.bits} bits",
            is_bytes=plain,
            stream=LEGACY_STREAM,
            owner=self,
        )


def _capsule_of(array: DlpackArray) -> object:
    """A capsule whose memory is ready for what the default stream gets from now on.

    That stream is the one that we say we read on: the engine waits for it, and it for the engine.
    """
    ask = cast(Any, array).__dlpack__
    try:
        return ask(stream=LEGACY_STREAM, max_version=NEWEST)
    except TypeError:  # from before versions were asked for
        return ask(stream=LEGACY_STREAM)


def _ask(ask: Callable[[], T], where: str) -> T:
    """Call what its maker wrote; whatever goes wrong in it is one line."""
    try:
        return ask()
    except EngineError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(f"{where}: the images cannot be had: {said}") from error


def _delete(deleter: int | None, address: int) -> None:
    if deleter:
        _Deleter(deleter)(address)
