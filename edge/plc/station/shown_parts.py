"""Drawn parts on their way from a worker's process to the page, as JPEG in memory."""

from __future__ import annotations

import mmap
import os

from cameras.child_link import Link
from edge.plc.station.messages import Drawn
from edge.service.http_routes import REJECT_KEYS, DrawnResult
from edge.service.shown_pictures import ShownPictures

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
