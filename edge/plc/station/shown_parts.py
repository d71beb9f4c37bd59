"""Drawn parts on their way from a worker's process to the page, as JPEG in memory."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from cameras.child_link import Link
from edge.plc.station.messages import Drawn
from edge.service.gallery import ShownPictures
from edge.service.http_routes import REJECT_KEYS, DrawnResult
from edge.sinks.kept_parts import drawn_picture

_REASON = 500  # characters: a message has its bound


class SentPictures(ShownPictures):
    """Pictures that are seen in another process.

    Args:
        link: to it. What it cannot take at once is left out.
    """

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def put(self, shown: DrawnResult, *, rejected: bool) -> None:
        """Send a picture."""
        result = {key: shown.result[key] for key in REJECT_KEYS}
        result["reason"] = result["reason"][:_REASON]
        memory = os.memfd_create("edge-part", os.MFD_CLOEXEC)
        try:
            os.write(memory, shown.jpeg)
            drawn = Drawn(memory, shown.id, shown.verdict, shown.monotonic_s, result, rejected)
            self._link.send(drawn, wait=False)
        finally:
            os.close(memory)


def drawn_from_message(message: Drawn) -> DrawnResult:
    """The picture of a message, whose descriptor is closed."""
    try:
        with mmap.mmap(message.descriptor, 0, prot=mmap.PROT_READ) as memory:
            jpeg = memory[:]
    finally:
        os.close(message.descriptor)
    return DrawnResult(message.id, jpeg, message.verdict, message.monotonic_s, message.result)


class StationPictures:
    """The pictures of a station's page; see `edge.service.http_routes.Pictures`.

    Args:
        station: its name.
        shown: its pictures of now, and the last rejects.
        keep: the folder of kept parts; None keeps none.
    """

    def __init__(self, station: str, shown: ShownPictures, *, keep: Path | None) -> None:
        self._of = {station: shown}
        self._keep = keep

    def live(self, camera: str, *, unless_id: str = "") -> tuple[DrawnResult, float] | None:
        """See `Pictures`."""
        return self._of[camera].live(unless_id=unless_id)

    def rejects(self, camera: str) -> tuple[DrawnResult, ...]:
        """See `Pictures`."""
        return self._of[camera].rejects()

    def kept(self, camera: str, name: str) -> bytes | None:
        """See `Pictures`."""
        return drawn_picture(self._keep, camera, name) if camera in self._of else None
