"""What a lost picture leaves behind: each picture is the one that was filmed, or an ERROR."""

from __future__ import annotations

import random
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from cameras.demux.frame_numbers import FrameNumbers
from cameras.demux.opening import find_video, open_container
from cameras.demux.reader import PictureReader

COUNT, GROUP = 48, 8
OF_X265 = "log-level=none:b-adapt=0"
STREAMS = {
    "h264": ("libx264", {"bf": "0"}),
    "h264, B frames": ("libx264", {"bf": "2", "b_strategy": "0", "b-pyramid": "none"}),
    "h264, B frames on B frames": ("libx264", {"bf": "3", "b_strategy": "0"}),
    "h264, open groups": (
        "libx264",
        {"bf": "3", "b_strategy": "0", "x264-params": "open-gop=1"},
    ),
    "hevc": ("libx265", {"x265-params": f"{OF_X265}:bframes=0"}),
    "hevc, B frames": ("libx265", {"x265-params": f"{OF_X265}:bframes=3:open-gop=0"}),
}


def write(path: Path, codec: str, options: dict[str, str]) -> None:
    """A scene that moves on from picture to picture."""
    blocks = np.random.default_rng(1).integers(40, 216, (6, 8, 3), np.uint8)
    scene = blocks.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = GROUP
        stream.options = options | {"preset": "ultrafast", "sc_threshold": "0"}
        for number in range(COUNT):
            image = np.roll(scene, 3 * number, 1)
            image[10:22, number : number + 12] = number * 5
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_lossy(path: Path, to: Path, is_lost) -> None:
    """The same video without some of its packets."""
    with av.open(str(path)) as source, av.open(str(to), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and not is_lost(packet):
                packet.stream = stream
                container.mux(packet)


def read(path: Path) -> list[tuple[int | None, str, np.ndarray | None]]:
    """Of each picture: its time, what is against it, itself."""
    found = []
    with open_container(str(path), {}) as container:
        reader = PictureReader(container, find_video(container))
        while True:
            try:
                pictures = reader.read()
            except (StopIteration, av.error.EOFError):
                return found
            for picture in pictures:
                frame = picture.content
                image = None if frame is None else frame.to_ndarray()
                found.append((None if frame is None else frame.pts, picture.damage, image))


def kinds_of(path: Path) -> dict[int, str]:
    """What each picture is, I, P or B, by its time."""
    with av.open(str(path)) as container:
        return {frame.pts: "?IPB"[frame.pict_type] for frame in container.decode(video=0)}


@pytest.mark.parametrize("codec, options", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("kind", "PB")
def test_what_is_judged_after_a_lost_picture_was_filmed(tmp_path, codec, options, kind) -> None:
    whole, lossy = tmp_path / "whole.mkv", tmp_path / "lossy.mkv"
    write(whole, codec, options)
    filmed = {time: image for time, _, image in read(whole)}
    kinds = kinds_of(whole)
    if kind not in kinds.values():
        return
    for seed in range(6):
        draw = random.Random(seed)

        def is_lost(packet, draw=draw) -> bool:
            return kinds[packet.pts] == kind and draw.random() < 0.15

        write_lossy(whole, lossy, is_lost)
        pictures = read(lossy)
        judged = [(time, image) for time, damage, image in pictures if not damage]
        assert all(np.array_equal(filmed[time], image) for time, image in judged)
        assert judged


@pytest.mark.parametrize("codec, options", STREAMS.values(), ids=STREAMS)
def test_nothing_is_against_a_whole_stream_and_a_key_frame_ends_a_loss(
    tmp_path, codec, options
) -> None:
    whole, lossy = tmp_path / "whole.mkv", tmp_path / "lossy.mkv"
    write(whole, codec, options)
    pictures = read(whole)
    assert [damage for _, damage, _ in pictures] == [""] * COUNT
    kinds = kinds_of(whole)
    second = [time for time, kind in kinds.items() if kind == "P"][1]
    write_lossy(whole, lossy, lambda packet: packet.pts == second)
    damages = [damage for _, damage, _ in read(lossy)]
    assert any("were lost" in damage or "builds on" in damage for damage in damages)
    assert not any(damages[-GROUP:])


def coded(count: int, *, key_every: int) -> list[bytes]:
    """Packets of H.264, each with its own start codes; in the first are the headers."""
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = 64, 48, "yuv420p"
    context.time_base = Fraction(1, 25)
    context.gop_size = key_every
    context.options = {"tune": "zerolatency", "threads": "1"}
    image, packets = np.zeros((48, 64, 3), np.uint8), []
    for number in range(count):
        image[10:22, 2 * number : 2 * number + 12] = 255 - number
        packets += context.encode(av.VideoFrame.from_ndarray(image, format="bgr24"))
    return [bytes(packet) for packet in [*packets, *context.encode(None)]]


def test_a_lost_key_frame_is_missed_where_every_other_one_is_a_key_frame(tmp_path) -> None:
    """The next picture has the number of the one before, and builds on another."""
    whole, lossy = tmp_path / "whole.mkv", tmp_path / "lossy.mkv"
    write(whole, "libx264", {"bf": "0", "g": "2"})
    filmed = {time: image for time, _, image in read(whole)}
    key = [time for time, kind in kinds_of(whole).items() if kind == "I"][4]
    write_lossy(whole, lossy, lambda packet: packet.pts == key)
    pictures = read(lossy)
    assert sum(bool(damage) for _, damage, _ in pictures) == 1
    assert all(damage or np.array_equal(filmed[time], image) for time, damage, image in pictures)


def test_headers_that_the_filter_refuses_tell_nothing_and_end_nothing(tmp_path) -> None:
    """Of a camera that does not keep to the standard, FFmpeg decodes what its filter won't read."""
    path, data = tmp_path / "video.h264", bytearray(b"".join(coded(3, key_every=2)))
    data[data.index(b"\0\0\1\x67") + 21] ^= 8  # a limit of pictures in the decoder
    path.write_bytes(data)
    assert [damage for _, damage, _ in read(path)] == [""] * 3
    packets = coded(8, key_every=4)
    headers = packets[4].index(b"\0\0\1\x67")
    damaged = bytearray(packets[4])
    damaged[headers + 21] ^= 8
    path.write_bytes(b"".join(packets))
    with open_container(str(path), {}) as container:
        numbers = FrameNumbers(find_video(container))
        kept = [*packets[:4], bytes(damaged), *packets[5:]]
        assert not any(numbers.is_gap_before(data) for data in kept)


def test_a_camera_s_long_remarks_cost_no_time(tmp_path) -> None:
    remark = b"\0\0\1\x06\x05" + b"\xff" * 400 + b"\x10" + b"\x55" * (255 * 400 + 16) + b"\x80"
    path = tmp_path / "video.h264"
    path.write_bytes(b"".join(remark + data for data in coded(5, key_every=5)))
    began_s = time.process_time()
    assert [damage for _, damage, _ in read(path)] == [""] * 5
    assert time.process_time() - began_s < 0.5, "a line for each byte took 1.5 s"
