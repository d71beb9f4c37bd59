"""Whether an H.264 picture is missing, by the numbers in the pictures' own headers.

A decoder compares a number with the picture before. With B frames nobody builds on, those carry the
number of the picture that is missing after them, and the decoder finds nothing wrong.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence

import av
import av.error
from av.bitstream import BitStreamFilterContext
from av.video.stream import VideoStream

from cameras.demux.ffmpeg_log import LogLine, listen

_TRACE = "trace_headers"  # FFmpeg's filter that writes down each field of a header
# Of slices and what they refer to alone: a camera's remarks may have a million fields.
_FILTER = f"filter_units=pass_types=1|5|7|8,{_TRACE}"
_FIELD = re.compile(r"\d+\s+(\w+)(?:\[\d+\])*\s+[01]*\s*= (-?\d+)\s*$")
_IDR = 5  # type of a unit: everything begins anew
_FORGET_ALL = 5  # memory management: as an IDR picture, but after this one


class FrameNumbers:
    """Follows the frame numbers of a stream; knows nothing of other codecs.

    Headers that the decoder takes and FFmpeg's filter refuses, as not of the standard, tell
    nothing. Nor can it be known that exactly as many pictures are missing as lie between two key
    frames.

    Source: ITU-T H.264, 7.4.3: frame_num is one more than that of the reference picture before;
    the same for the second field of that one.

    Args:
        stream: whose packets come, all of them and in order.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._trace: BitStreamFilterContext | None = None
        self._modulus = 0  # of the numbers; 0 while it isn't known
        self._may_skip = False  # numbers may be left out on purpose
        self._before: int | None = None  # the number of the reference picture before
        if stream.codec_context.name == "h264":
            with listen() as lines, contextlib.suppress(av.error.FFmpegError):
                self._trace = BitStreamFilterContext(_FILTER, stream)
            self._learn(lines)

    def is_gap_before(self, data: bytes) -> bool:
        """Tell whether a picture that others build on is missing right before this one.

        Args:
            data: the packet's.
        """
        if self._trace is None:
            return False
        with listen() as lines:
            try:
                self._trace.filter(av.Packet(data))
            except av.error.FFmpegError:  # the decoder says what is wrong with it
                self._trace.flush()
                self._before = None
                return False
        self._learn(lines)
        return self._follow(_first_slice(lines))

    def _learn(self, lines: Sequence[LogLine]) -> None:
        """Take what a sequence's header says of its numbers, if one is there."""
        for name, value in _fields(lines):
            if name == "log2_max_frame_num_minus4":
                self._modulus = 1 << value + 4
            elif name == "gaps_in_frame_num_allowed_flag":
                self._may_skip = bool(value)

    def _follow(self, header: Mapping[str, int]) -> bool:
        number, before = header.get("frame_num"), self._before
        if number is None or not self._modulus or header["first_mb_in_slice"]:
            return False
        is_reference = header["nal_ref_idc"] > 0
        is_gap = (
            before is not None
            and header["nal_unit_type"] != _IDR
            and (number - before) % self._modulus != 1
            and not (number == before and header.get("field_pic_flag"))
        )
        if header.get("memory_management_control_operation") == _FORGET_ALL:
            self._before = 0
        elif is_reference:
            self._before = number
        elif is_gap:  # what is missing was the one before
            self._before = (number - 1) % self._modulus
        return is_gap and not self._may_skip


def _first_slice(lines: Sequence[LogLine]) -> dict[str, int]:
    """The fields of a picture's first slice; empty if there is none.

    Of a field that is there several times, the greatest value counts.
    """
    begins = [at for at, (_, _, text) in enumerate(lines) if text.startswith("Slice Header")]
    begin, end = [*begins, len(lines), len(lines)][:2]
    found: dict[str, int] = {}
    for name, value in _fields(lines[begin:end]):
        found[name] = max(value, found.get(name, value))
    return found


def _fields(lines: Sequence[LogLine]) -> list[tuple[str, int]]:
    found = [_FIELD.match(text) for _, part, text in lines if part == _TRACE]
    return [(match[1], int(match[2])) for match in found if match]
