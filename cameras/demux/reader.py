"""A container's pictures, one after the other, each with what is known to be wrong with it.

JPEGs are taken as they are and decoded by the one function that reads image files, which refuses
what is cut short: FFmpeg fills the missing rest with rows of the picture before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import av
import av.container
import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from cameras.decoding.limits import MAX_PIXELS
from cameras.demux.ffmpeg_log import (
    find_damage,
    find_loss,
    has_ended_early,
    listen,
)
from cameras.demux.frame_numbers import FrameNumbers
from cameras.demux.recovery import Recovery
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes

_JPEG = "mjpeg"
_DELAYED = 64  # packets that a decoder may hold back at most
# Of a loss that is told with a packet, that packet may be the last whole one or the first that is
# not: FFmpeg tells it when it meets the gap, and a picture is complete when the next one begins.
_TOLD_AHEAD = 2
_TURNS: Mapping[int, int] = MappingProxyType(
    {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
)


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """A picture, before its colours are converted or its JPEG is decoded.

    Attributes:
        content: what a decoder returned, or the bytes of a JPEG; None if nothing came out.
        damage: what is known to be wrong with it; empty if nothing is.
        formatter: converts its colours.
    """

    content: av.VideoFrame | bytes | None
    damage: str
    formatter: VideoReformatter

    def image(self) -> npt.NDArray[np.uint8]:
        """Return (H, W, 3) uint8 BGR, turned upright.

        Raises:
            ImageError: it is damaged; the message is a reason without a name.
        """
        if self.damage or self.content is None:
            raise ImageError(f"this picture cannot be trusted: {self.damage}")
        if isinstance(self.content, bytes):
            return image_from_bytes(self.content)
        frame = self.formatter.reformat(self.content, format="bgr24")
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : frame.height
        ]
        image = rows[:, : frame.width * 3].reshape(frame.height, frame.width, 3)
        turn = _TURNS.get(self.content.rotation % 360)
        return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)


class PictureReader:
    """Reads the pictures of a container's first video stream; decodes in the calling thread.

    Args:
        container: where they are; closed by the caller.
        stream: of `container`; it has a decoder.
    """

    def __init__(self, container: av.container.InputContainer, stream: VideoStream) -> None:
        self.packets = 0
        self.needs_key = not _is_intra_only(stream)  # and has had none yet
        self.end_s: float | None = None  # where the last packet ends, by its own time
        self.longest_s = 0.0  # between the ends of two packets
        self.has_ended_early = False  # in the midst of a packet, or before what was announced
        self._stream = stream
        self._codec = stream.codec_context
        self._codec.thread_count = 1  # each further one holds back a frame, and its log lines
        self._codec.flags |= Flags.copy_opaque  # each frame says of which packet it is
        self._codec.options = {"max_pixels": str(MAX_PIXELS)}
        self._packets = container.demux(stream)
        self._formatter = VideoReformatter()
        name = self._codec.name
        self._takes_jpegs = name == _JPEG
        self._recovery = Recovery(name, self._codec.extradata, is_intra_only=_is_intra_only(stream))
        self._numbers = FrameNumbers(stream)
        self._damage_of: dict[int, str] = {}  # packet's number to what is wrong with its picture
        self._told: set[int] = set()  # packets whose damage was told before their picture came
        self._lost_for, self._loss = 0, ""

    def read(self) -> list[CodedPicture]:
        """Return the pictures that the next packet completes, often none or one.

        Raises:
            StopIteration: the stream has ended.
            av.error.FFmpegError: it cannot be read on.
        """
        with listen() as lines:
            packet = next(self._packets)
        self.has_ended_early = self.has_ended_early or has_ended_early(lines)
        if loss := find_loss(lines):
            self._lost_for, self._loss = _TOLD_AHEAD, loss
        if packet.size == 0:
            return self._finish(packet)
        damage = self._loss if self._lost_for else ""
        self._lost_for = max(0, self._lost_for - 1)
        if packet.is_corrupt:
            damage = damage or "it was cut short on its way"
        self._note(packet)
        if self._takes_jpegs:
            data = bytes(packet)
            return [CodedPicture(data, damage or _find_fields(data), self._formatter)]
        return self._decode(packet, damage)

    def _note(self, packet: av.Packet[VideoStream]) -> None:
        self.packets += 1
        self.needs_key = self.needs_key and not packet.is_keyframe
        if packet.pts is not None and packet.time_base is not None:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            if self.end_s is None or end_s > self.end_s:
                self.longest_s = max(self.longest_s, end_s - (self.end_s or end_s))
                self.end_s = end_s

    def _finish(self, packet: av.Packet[VideoStream]) -> list[CodedPicture]:
        """Return what the decoder still holds, at the end; a packet may be empty before it, too."""
        if self._takes_jpegs or packet.dts is not None:
            return []
        return [self._coded(frame) for frame in _frames_from_packet(packet)]

    def _decode(self, packet: av.Packet[VideoStream], damage: str) -> list[CodedPicture]:
        """Put a packet into the decoder; return what comes out, be it of an earlier packet."""
        number = self.packets
        packet.opaque = number
        data = bytes(packet)
        if self._numbers.is_gap_before(data):
            damage = damage or "pictures before it were lost"
        with listen() as lines:
            frames = _frames_from_packet(packet)
        damage = self._recovery.judge(
            data, is_key=packet.is_keyframe, damage=damage or find_damage(lines)
        )
        self._damage_of[number] = damage
        self._damage_of.pop(number - _DELAYED, None)
        self._told.discard(number - _DELAYED)
        pictures = [self._coded(frame) for frame in frames if frame.opaque not in self._told]
        if damage and not frames:
            self._told.add(number)
            pictures.append(CodedPicture(None, damage, self._formatter))
        return pictures

    def _coded(self, frame: av.VideoFrame) -> CodedPicture:
        newest = self._damage_of.get(self.packets, "")
        number = frame.opaque
        if not isinstance(number, int):  # a decoder made it up
            damage = newest or "it was made up in place of a lost one"
        else:
            damage = self._damage_of.get(number, newest)
        if frame.interlaced_frame:  # it may be of two packets
            damage = damage or newest
        if frame.is_corrupt:
            damage = damage or "a part of it is missing"
        return CodedPicture(frame, damage, self._formatter)


def _frames_from_packet(packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
    """Decode a packet; nothing comes of one that cannot be decoded, and FFmpeg writes why."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return []


def _is_intra_only(stream: VideoStream) -> bool:
    return stream.codec_context.codec.intra_only


def _find_fields(data: bytes) -> str:
    """Say so if a JPEG is one field of an interlaced picture: it has half of the rows."""
    at = data.find(b"\xff\xe0", 0, 64)
    if at >= 0 and data[at + 4 : at + 8] == b"AVI1" and data[at + 8 : at + 9] in (b"\1", b"\2"):
        return "it is interlaced, which is not read"
    return ""
