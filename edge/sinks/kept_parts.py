"""What a person wants to see later: each NG and ERROR part, as it came and drawn."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager

import cv2

from cameras.redaction import printable_path
from edge.drawing.overlay import draw
from edge.result import Result, Verdict
from edge.sinks.disk_quota import DiskLimits, DiskQuota
from edge.sinks.losses import LossCounter, RepeatFilter
from edge.sinks.pictures import jpeg_from_image, write_whole
from edge.sinks.sink import name_from_result


class KeptPartsSink(AbstractContextManager["KeptPartsSink"]):
    """NG and ERROR results: the picture as it came, drawn, and the result line.

    ``FOLDER/DAY/NAME.jpg``, ``NAME_drawn.jpg``, ``NAME.json``. A repeated ERROR is kept once, then
    every ten seconds.

    Args:
        folder: made if it is not there.
        limits: how much is kept; the oldest make room.

    Raises:
        SinkError: the folder cannot be made, read or written.
    """

    lossless = False
    alone = True  # what it keeps is evidence: it does not wait for a video

    def __init__(self, folder: str | os.PathLike[str], *, limits: DiskLimits | None = None) -> None:
        self.losses = LossCounter(printable_path(folder), "kept parts")
        self._quota = DiskQuota(folder, limits)
        self._repeats = RepeatFilter()

    def write(self, result: Result) -> None:
        """Keep it if it is NG or ERROR."""
        if not self._is_kept(result):
            return
        try:
            self._keep(result)
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
        if result.verdict is not Verdict.ERROR:
            return result.verdict is Verdict.NG
        return self._repeats.is_news(result.reason)

    def _keep(self, result: Result) -> None:
        name = name_from_result(result)
        line = json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)
        files = {f"{name}.json": line.encode("utf-8", "backslashreplace")}
        if result.image is not None:
            files[f"{name}.jpg"] = jpeg_from_image(result.image)
            files[f"{name}_drawn.jpg"] = jpeg_from_image(draw(result))
        for file, data in files.items():
            self._quota.make_room(len(data))
            path = self._quota.path_for(file)
            write_whole(path, data)
            self._quota.add(path)
