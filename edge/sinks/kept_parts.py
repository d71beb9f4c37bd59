"""What a person wants to see later: NG and ERROR parts and some OK ones, as they came and drawn."""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import AbstractContextManager
from pathlib import Path

import cv2

from cameras.redaction import printable_path
from edge.drawing.overlay import draw
from edge.result import Result, Verdict
from edge.sinks.database import DATABASE, SHADOW
from edge.sinks.disk_quota import DiskLimits, DiskQuota
from edge.sinks.losses import LossCounter, RepeatFilter
from edge.sinks.pictures import jpeg_from_image, png_from_image, write_whole
from edge.sinks.sink import SinkError, name_from_result

MARKED = "marked"
"""The folder of pictures that somebody marked, in a folder of kept parts."""
_NAME = re.compile(r"\d{8}T\d{6}\.\d{3}Z_\d+_[A-Z]+(_[A-Za-z0-9.-]+)?")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_BYTES = 64 << 20
_TAKEN = re.compile(rf"{SHADOW}|{MARKED}|{re.escape(DATABASE)}.*|\d{{8}}")


def folder_of(keep: Path, camera: str) -> Path:
    """Where a camera's parts are kept.

    Args:
        keep: the folder of all.
        camera: its name; empty where there is one alone.

    Raises:
        SinkError: something else has that name there.
    """
    if _TAKEN.fullmatch(camera):
        raise SinkError(
            f"camera {camera}: {printable_path(keep / camera)} is the place of something else in a "
            "folder of kept parts; give the camera another name"
        )
    return keep / camera


class KeptPartsSink(AbstractContextManager["KeptPartsSink"]):
    """NG and ERROR results, and a share of the OK ones: picture as it came, drawn, result line.

    ``FOLDER/DAY/NAME.png``, ``NAME_drawn.jpg``, ``NAME.json``. The picture as it came has lost
    nothing: an inspector that learns from it sees what the one at work saw. A repeated ERROR is
    kept once, then every ten seconds.

    Args:
        folder: made if it is not there.
        limits: how much is kept; the oldest make room.
        share_ok: of the OK parts, evenly spread; 0 is none.

    Raises:
        SinkError: the folder cannot be made, read or written.
    """

    lossless = False
    alone = True  # what it keeps is evidence: it does not wait for a video

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        limits: DiskLimits | None = None,
        share_ok: float = 0.0,
    ) -> None:
        self.losses = LossCounter(printable_path(folder), "kept parts")
        self._quota = DiskQuota(folder, limits)
        self._repeats = RepeatFilter()
        self._share_ok = share_ok
        self._count_ok = 0

    def write(self, result: Result) -> None:
        """Keep it if it is NG, ERROR, or an OK part whose turn it is."""
        if not self._is_kept(result):
            return
        try:
            keep_part(self._quota, result)
        except (cv2.error, OSError) as error:
            self.losses.add(error)
        else:
            self.losses.end_outage()

    def close(self) -> None:
        """Let another program have the folder: every part is complete; a second call is fine."""
        self._quota.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _is_kept(self, result: Result) -> bool:
        if result.verdict is Verdict.OK:
            before, self._count_ok = self._count_ok, self._count_ok + 1
            return int(self._count_ok * self._share_ok) > int(before * self._share_ok)
        if result.verdict is Verdict.NG:
            return True
        return self._repeats.is_news(result.reason)


def drawn_name(name: str) -> str:
    """Where a part's drawn picture lies in a camera's folder of kept parts.

    Args:
        name: of `name_from_result`, which begins with the day.
    """
    return f"{name[:8]}/{name}_drawn.jpg"


def drawn_picture(keep: Path | None, camera: str, name: str) -> bytes | None:
    """Read the drawn picture of a part, in whatever words somebody asks for it.

    Args:
        keep: the folder of kept parts; None where nothing is kept.
        camera: its name.
        name: as `name_from_result` makes them; another one has no picture.

    Returns:
        The JPEG; None where it is not kept, or not any more.
    """
    if keep is None or not _NAME.fullmatch(name):
        return None
    try:
        file = os.open(folder_of(keep, camera) / drawn_name(name), _READ)
    except OSError:
        return None
    with os.fdopen(file, "rb") as picture:
        return picture.read(_MAX_BYTES) if stat.S_ISREG(os.fstat(file).st_mode) else None


def keep_part(quota: DiskQuota, result: Result) -> None:
    """Write a part's files: the picture as it came, drawn, and the result line.

    Raises:
        OSError, cv2.error: one of them cannot be written.
    """
    name = name_from_result(result)
    line = json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)
    files = {f"{name}.json": line.encode("utf-8", "backslashreplace")}
    if result.image is not None:
        files[f"{name}.png"] = png_from_image(result.image)
        files[f"{name}_drawn.jpg"] = jpeg_from_image(draw(result))
    for file, data in files.items():
        quota.make_room(len(data))
        path = quota.path_for(file)
        write_whole(path, data)
        quota.add(path)
