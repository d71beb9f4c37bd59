"""From which packet on pictures are whole again: after a loss, each builds on what was lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

# Types of NAL units of pictures after which nothing builds on what came before them.
# Source: ITU-T H.264, table 7-1; H.265, table 7-1.
_H264_IDR = frozenset({5})
_HEVC_IDR = frozenset({19, 20})
_FRESH: Mapping[str, frozenset[int]] = MappingProxyType({"h264": _H264_IDR, "hevc": _HEVC_IDR})
_FRESH_KEYS = frozenset({"vp8", "vp9", "av1", "libdav1d", "libaom-av1", "libvpx", "libvpx-vp9"})
_PREFIXED = 1  # first byte of extradata when units have their length before them, as in MP4


class Recovery:
    """Says of each packet what is against its picture, from what was against the ones before.

    A key frame at which everything begins anew ends a loss. With others (open groups of pictures,
    gradual refresh) pictures after the key frame may still build on lost ones before it: there the
    second one in a row ends it.

    Args:
        codec: FFmpeg's name of it.
        extradata: of the codec; tells how units are parted.
        is_intra_only: whether no picture builds on another.
    """

    def __init__(self, codec: str, extradata: bytes | None, *, is_intra_only: bool) -> None:
        self._codec = codec
        self._extradata = extradata or b""
        self._is_intra_only = is_intra_only
        self._damage = ""
        self._keys = 0  # in a row since the damage, none of them fresh

    def judge(self, data: bytes, *, is_key: bool, damage: str) -> str:
        """Return what is against the picture of the next packet; empty if nothing is known.

        Args:
            data: the packet's.
            is_key: whether it is marked as a key frame.
            damage: what is against this packet itself.
        """
        if self._is_intra_only:
            return damage
        if damage:
            self._damage, self._keys = damage, 0
        elif self._damage and is_key:
            self._keys += 1
            if self._keys > 1 or self._begins_anew(data):
                self._damage = ""
            else:
                return self._damage
        if not self._damage or damage:
            return self._damage
        return f"waiting for a key frame: {self._damage}"

    def _begins_anew(self, data: bytes) -> bool:
        if self._codec in _FRESH_KEYS:
            return True
        fresh = _FRESH.get(self._codec, frozenset())
        return any(_unit_type(self._codec, first) in fresh for first in self._first_bytes(data))

    def _first_bytes(self, data: bytes) -> Iterator[int]:
        """The first byte of each unit, which has its type."""
        if self._extradata[:1] == bytes([_PREFIXED]):
            width = (self._extradata[21 if self._codec == "hevc" else 4] & 3) + 1
            at = 0
            while at + width < len(data):
                yield data[at + width]
                at += width + int.from_bytes(data[at : at + width], "big")
            return
        at = data.find(b"\0\0\1")
        while 0 <= at < len(data) - 3:
            yield data[at + 3]
            at = data.find(b"\0\0\1", at + 3)


def _unit_type(codec: str, first: int) -> int:
    return first & 0x1F if codec == "h264" else first >> 1 & 0x3F
