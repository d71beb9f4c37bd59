"""How a live camera is opened: plain values, so that the process that captures can open it.

A kind of device is one file with a frozen dataclass that has `open`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from cameras.errors import SourceError


class NotYet(Exception):  # noqa: N818 - nothing is wrong
    """A camera delivers, but no picture is complete; the message says what is waited for."""


class Opened(Protocol):
    """An open camera.

    Attributes:
        rate_hz: nominal frames per second; None when it does not tell a believable rate.
        patience_s: for how long `grab` may wait while nothing comes, after which it ends the
            connection itself; None when a wait as long as a stall ends it.
        trouble: why the connection is of no more use, where it is known; otherwise empty.
    """

    rate_hz: float | None
    patience_s: float | None
    trouble: str

    def grab(self) -> bool:
        """Wait for the next picture; False when the connection is of no more use.

        It may block for as long as it likes, as long as it lets other threads run: the capture
        process is killed when it hangs.

        Raises:
            NotYet: something came, but no picture.
        """
        ...

    def retrieve(self, into: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
        """Return the picture that was grabbed last, None when the connection is of no more use.

        Args:
            into: (H, W, 3) uint8 in shared memory, of the size of the picture before. The picture
                is written there, and that same array returned, if it can be; it may be ignored.

        Returns:
            (H, W, 3) uint8 BGR, valid until the next `grab`.

        Raises:
            CameraError: there is a picture, but not of a kind that can be used.
            ImageError: this picture is damaged; the next one may be whole.
        """
        ...

    def close(self) -> None:
        """Release the camera; a second call does nothing."""
        ...


@runtime_checkable
class Device(Protocol):
    """A frozen dataclass of JSON's values and tuples of them; may contain credentials."""

    def open(self) -> Opened:
        """Open the camera and set what was asked for.

        Raises:
            CameraError: it does not answer, or refuses a setting; the message is a reason
                without the camera's name, such as ``does not answer``.
        """
        ...


def json_from_device(device: Device) -> dict[str, Any]:
    """Return what `device_from_json` takes. It may contain credentials: never in an argument."""
    kind = type(device)
    values = asdict(cast(Any, device))
    return {"module": kind.__module__, "kind": kind.__name__, "values": values}


def device_from_json(content: Mapping[str, Any]) -> Device:
    """Return the device that the parent named; only its own module is loaded.

    Raises:
        SourceError: there is no such kind, or it has no such values.
    """
    try:
        build = getattr(importlib.import_module(content["module"]), content["kind"])
        return cast(Device, build(**_with_tuples(content["values"])))
    except (KeyError, TypeError, AttributeError, ImportError) as error:
        raise SourceError(f"device of kind {content.get('kind')!r}: {error}") from error


def _with_tuples(value: Any) -> Any:
    """JSON knows no tuples; a frozen dataclass knows no lists."""
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value
