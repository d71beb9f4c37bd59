"""GigE Vision and USB3 Vision cameras through GenICam: ``genicam:SERIAL``, extra ``genicam``.

The camera's maker supplies the GenTL producer, a ``.cti`` file, and sets GENICAM_GENTL64_PATH to
its folder; ``producer=FILE`` names one. `harvesters` drives it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from cameras.capture.source import LiveSource
from cameras.devices.pixels import NAMES, bgr_from_pixels
from cameras.errors import CameraError, SourceError
from cameras.options import OpenOptions
from cameras.redaction import one_line, printable_path

if TYPE_CHECKING:
    from harvesters.core import Buffer, Harvester, ImageAcquirer

_PRODUCERS = "GENICAM_GENTL64_PATH"
_CHECK = "power and cable, its IP address, and that no other program uses it"
_BUFFERS = 4
_POLL_MS = 100
_MAX_LISTED = 8
_TRACE = re.compile(r"\s*:?\s*\w*Exception thrown.*")
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class GenicamDevice:
    """How one camera is opened; see `Device`.

    Attributes:
        producers: paths of GenTL producers.
        camera: serial number, user-defined name, id or model; empty for the only one.
        features: name, value and whether the camera must have it; set in this order.
        find_timeout_s: in which the cameras on each interface have to answer.
        read_timeout_s: without a picture for so long, the connection is given up.
    """

    producers: tuple[str, ...]
    camera: str = ""
    features: tuple[tuple[str, str, bool], ...] = ()
    find_timeout_s: float = 2.0
    read_timeout_s: float = 1.0

    def open(self) -> GenicamCamera:
        """See `Device.open`."""
        from genicam.genapi import GenericException as ApiError
        from genicam.gentl import GenericException as TransportError
        from harvesters.core import Harvester

        # What it logs, each with a trace, becomes the reason of a frame or an error here.
        logging.getLogger("harvesters.core").setLevel(logging.CRITICAL)
        harvester = Harvester()
        try:
            return self._open_camera(harvester)
        # AttributeError: a feature that every camera must have is not there.
        except (ApiError, TransportError, ValueError, OSError, AttributeError) as error:
            harvester.reset()
            raise CameraError(_first_line(error)) from error
        except CameraError:
            harvester.reset()
            raise

    def _open_camera(self, harvester: Harvester) -> GenicamCamera:
        for path in self.producers:
            harvester.add_file(path, check_existence=True, check_validity=True)
        harvester.timeout_for_update = round(self.find_timeout_s * 1000)
        harvester.update()
        found = _choose_camera(list(harvester.device_info_list), self.camera)
        acquirer = harvester.create(found)
        nodes = acquirer.remote_device.node_map
        for name, value, needed in self.features:
            _set_feature(nodes, name, value, needed=needed)
        if nodes.PixelFormat.value not in NAMES:
            known = [name for name in nodes.PixelFormat.symbolics if name in NAMES]
            raise CameraError(
                f"delivers {nodes.PixelFormat.value}, which is not read; set PixelFormat to one of "
                f"{', '.join(known) or 'none that it has'}"
            )
        acquirer.num_buffers = _BUFFERS
        acquirer.timeout_period_on_update_event_data_call = _POLL_MS
        acquirer.start()
        return GenicamCamera(harvester, acquirer, self.read_timeout_s)


class GenicamCamera:
    """An open camera; see `Opened`."""

    patience_s: float | None = None
    trouble = ""

    def __init__(self, harvester: Harvester, acquirer: ImageAcquirer, timeout_s: float) -> None:
        from genicam.genapi import GenericException as ApiError
        from genicam.gentl import GenericException as TransportError

        self._errors = (ApiError, TransportError)
        self._harvester: Harvester | None = harvester
        self._acquirer = acquirer
        self._timeout_s = timeout_s
        self._buffer: Buffer | None = None
        self.rate_hz = self._read_nominal_rate()

    def grab(self) -> bool:
        """See `Opened.grab`; a picture with lost packets is left out."""
        self._give_back()
        began = time.monotonic()
        while self._harvester is not None and time.monotonic() - began < self._timeout_s:
            try:
                self._buffer = self._acquirer.try_fetch(timeout=_POLL_MS / 1000)
            except self._errors:
                return False
            if self._buffer is not None:
                return True
        return False

    def retrieve(self, into: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8] | None:
        """See `Opened.retrieve`."""
        if self._buffer is None:
            return None
        try:
            parts = self._buffer.payload.components
            for part in parts:
                if part.data is not None and part.data_format in NAMES:
                    return bgr_from_pixels(
                        part.data,
                        format=part.data_format,
                        size=(part.width, part.height),
                        into=into,
                    )
        except (*self._errors, AttributeError, KeyError):
            return None
        except ValueError as error:
            raise CameraError(f"delivers less than a picture: {error}") from error
        finally:
            self._give_back()
        raise CameraError("delivers no picture of a format that is read; set PixelFormat=Mono8")

    def close(self) -> None:
        """See `Opened.close`."""
        harvester, self._harvester = self._harvester, None
        if harvester is None:
            return
        self._give_back()
        try:
            self._acquirer.stop()
            self._acquirer.destroy()
        except self._errors:
            logging.getLogger("cameras").info("a GenICam camera had gone before it was closed")
        finally:
            harvester.reset()

    def _give_back(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            try:
                buffer.queue()
            except self._errors:  # the camera is gone; the next fetch says so
                return

    def _read_nominal_rate(self) -> float | None:
        nodes = self._acquirer.remote_device.node_map
        for name in ("AcquisitionResultingFrameRate", "ResultingFrameRate", "AcquisitionFrameRate"):
            try:
                rate_hz = float(getattr(nodes, name).value)
            except (*self._errors, AttributeError, TypeError):
                continue
            if 0.1 <= rate_hz <= 100_000:
                return rate_hz
        return None


def open_genicam(address: str, options: OpenOptions) -> LiveSource:
    """Open a GenICam camera.

    Args:
        address: ``genicam:`` and its serial number, user-defined name, id or model; nothing for
            the only one.
        options: ``producer``, ``size``, ``fps``, ``exposure_ms``, ``gain``, and any feature of
            the camera by its own name, such as ``PixelFormat=BayerRG8``, set in this order.

    Raises:
        SourceError: harvesters or a producer is missing, or a wrong option.
        CameraError: no such camera, it is in use, or it refuses a setting.
    """
    camera = unquote(address.partition(":")[2].removeprefix("//"))
    if importlib.util.find_spec("harvesters") is None:
        raise SourceError(
            f"{options.name}: harvesters is not installed; pip install 'protoedge[genicam]'"
        )
    features = _features_from_options(options)
    device = GenicamDevice(
        producers=_find_producers(options),
        camera=camera,
        features=features,
        find_timeout_s=options.open_timeout,
        read_timeout_s=options.stall_after,
    )
    options.refuse_unknown()
    name = f"genicam:{one_line(camera)}" if camera else "genicam:"
    return LiveSource(device, name=name, stall_after=options.stall_after, check=_CHECK)


def _find_producers(options: OpenOptions) -> tuple[str, ...]:
    named = options.text("producer")
    if named is not None:
        path = Path(named).expanduser()
        if path.suffix != ".cti" or not path.is_file():
            raise SourceError(f"{options.name}: producer {printable_path(path)}: no such .cti file")
        return (str(path.absolute()),)
    folders = [Path(part) for part in os.environ.get(_PRODUCERS, "").split(os.pathsep) if part]
    found = sorted(str(path) for folder in folders for path in folder.glob("*.cti"))
    if not found:
        raise SourceError(
            f"{options.name}: no GenTL producer; install the camera maker's, which sets "
            f"{_PRODUCERS}, or give producer=FILE.cti"
        )
    return tuple(found)


def _features_from_options(options: OpenOptions) -> tuple[tuple[str, str, bool], ...]:
    """Return what is set, in order: the words for all cameras, then the camera's own features."""
    features: list[tuple[str, str, bool]] = []
    if (size := options.size("size")) is not None:
        features += [("Width", str(size[0]), True), ("Height", str(size[1]), True)]
    if (fps := options.number("fps", low=0.01, high=100_000)) is not None:
        features.append(("AcquisitionFrameRateEnable", "on", False))
        features.append(("AcquisitionFrameRate", str(fps), True))
    if (exposure_ms := options.number("exposure_ms", low=0.001, high=100_000)) is not None:
        features.append(("ExposureAuto", "Off", False))
        features.append(("ExposureTime", str(exposure_ms * 1000), True))
    if (gain := options.number("gain", low=-1000, high=1000)) is not None:
        features += [("GainAuto", "Off", False), ("Gain", str(gain), True)]
    own = options.matching("Feature", lambda word: word[:1].isupper())
    features += [(word, value, True) for word, value in own.items()]
    return tuple(features)


def _choose_camera(infos: list[Any], camera: str) -> Any:
    """Return the camera that was named, or the only one.

    Raises:
        CameraError: none, or several to choose from.
    """
    matching = [info for info in infos if not camera or camera in _list_names(info)]
    if len(matching) == 1:
        return matching[0]
    told = [next(_list_names(info), "?") for info in infos]
    present = ", ".join(one_line(name) for name in told[:_MAX_LISTED]) or "none"
    if not matching:
        raise CameraError(f"not found; present: {present}")
    raise CameraError(f"is one of several; name one: {present}")


def _list_names(info: Any) -> Iterator[str]:
    """Yield what a camera can be called by, the most telling first."""
    from genicam.gentl import GenericException as TransportError

    for attribute in ("serial_number", "user_defined_name", "id_", "model"):
        try:
            name = getattr(info, attribute)
        except (TransportError, AttributeError):  # not every producer knows every one
            continue
        if name:
            yield str(name)


def _set_feature(nodes: Any, name: str, value: str, *, needed: bool) -> None:
    """Set one feature.

    Raises:
        CameraError: the camera has none of this name, or refuses the value.
    """
    from genicam.genapi import GenericException as ApiError

    if not nodes.has_node(name):
        if needed:
            raise CameraError(f"has no feature {one_line(name)}; see its manual")
        return
    node = getattr(nodes, name)
    kind = type(node).__name__
    try:
        if kind == "ICommand":
            node.execute()
        elif kind == "IBoolean":
            node.value = _SWITCH[value.lower()]
        elif kind == "IInteger":
            node.value = int(float(value))
        elif kind == "IFloat":
            node.value = float(value)
        elif kind in ("IEnumeration", "IString"):
            node.value = value
        else:
            raise CameraError(f"cannot set {name}; it is no value")
    except (ApiError, ValueError, KeyError) as error:
        raise CameraError(f"refuses {name}={one_line(value)}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """Return the first line of what a library says, without what follows about its source."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(_TRACE.sub("", lines[0]))[:200]
