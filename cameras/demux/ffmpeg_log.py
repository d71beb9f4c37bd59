"""What FFmpeg writes: only there does it say that it filled a picture with what it never got.

A lost RTP packet, a missing reference picture, rows that were made up: a decoder returns success
for all of them. The lines are taken where they arise, in the thread that demuxes and decodes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import av.logging

LogLine = tuple[int, str, str]
"""Level, the part of FFmpeg that wrote it, text."""

_GAP = re.compile(r"Frame num gap")  # told as a detail, and then filled with the picture before
_LOSS = re.compile(r"RTP: missed|bad cseq|[Mm]issing packets|out of order|Packet corrupt")
_EARLY = re.compile(r"ended prematurely|partial file|Packet mismatch|truncated", re.IGNORECASE)
_MADE_UP = re.compile(r"conceal", re.IGNORECASE)
# Remarks of a camera's own beside its pictures, which FFmpeg cannot read.
_HARMLESS = re.compile(r"\bSEI\b|user data|metadata", re.IGNORECASE)
_ANSWERED = re.compile(r"SDP:")
_STATUS = re.compile(r"(?:HTTP error|method \w+ failed:) ([45][0-9]{2})\b")
_MANY_REDIRECTS = 8  # all that FFmpeg follows


def listen() -> av.logging.Capture:
    """Return a context manager that gives the list of the lines that this thread causes."""
    if av.logging.get_level() != av.logging.DEBUG:  # of the whole process; outside of this: silent
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.DEBUG)
    return av.logging.Capture()


def find_loss(lines: Sequence[LogLine]) -> str:
    """Return what was lost on the way, in words; empty if nothing is known to be."""
    if any(_LOSS.search(text) for _, _, text in lines):
        return "packets were lost"
    return ""


def find_damage(lines: Sequence[LogLine]) -> str:
    """Return what a decoder found wrong with a packet, in words; empty if nothing."""
    for level, _, text in lines:
        if _GAP.search(text):
            return "pictures before it were lost"
        if _MADE_UP.search(text):
            return "a part of it is missing"
        if level <= av.logging.ERROR and not _HARMLESS.search(text):
            return "it is damaged, or what it builds on is missing"
    return ""


def has_ended_early(lines: Sequence[LogLine]) -> bool:
    """Tell whether a file was found to end before it should."""
    return any(_EARLY.search(text) for _, _, text in lines)


def has_answered(lines: Sequence[LogLine]) -> bool:
    """Tell whether the other side of a connection that then failed had begun to deliver."""
    return any(
        _ANSWERED.search(text) or (part == "AVIOContext" and "bytes read" in text)
        for _, part, text in lines
    )


def find_status(lines: Sequence[LogLine]) -> int | None:
    """Return the status by which HTTP or RTSP refused; None if none is told."""
    found = [match for _, _, text in lines if (match := _STATUS.search(text))]
    return int(found[-1][1]) if found else None


def is_redirected_on_and_on(lines: Sequence[LogLine]) -> bool:
    """Tell whether FFmpeg gave up following redirects."""
    requests = sum(part == "http" and text.startswith("request:") for _, part, text in lines)
    return requests > _MANY_REDIRECTS


def is_mjpeg(lines: Sequence[LogLine]) -> bool:
    """Tell whether what came was announced as JPEGs in parts."""
    return any(part == "mpjpeg" for _, part, _ in lines)


def is_http(lines: Sequence[LogLine]) -> bool:
    """Tell whether HTTP was spoken."""
    return any(part == "http" for _, part, _ in lines)
