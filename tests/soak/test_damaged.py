"""Damaged video in numbers: of what was lost on the way, nothing is judged.

Run with `just soak`; prints how many pictures were damaged, refused and judged.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cameras.connect import open_source
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes

pytestmark = pytest.mark.soak
SECONDS = 12


def drawn(seed: int) -> np.ndarray:
    random_one = np.random.default_rng(seed)
    image = cv2.resize(random_one.integers(0, 255, (12, 16, 3), np.uint8), (320, 240))
    cv2.circle(image, (int(random_one.integers(40, 280)), 220), 9, (0, 0, 255), -1)  # low down
    return cv2.add(image, random_one.integers(0, 12, image.shape, np.uint8))


def tell(what: str, counts: Counter) -> None:
    print(f"\n{what}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def test_no_cut_jpeg_is_judged() -> None:
    """Of 4 000, each cut anywhere in its last fifth, half of them with an end put there."""
    chance, counts = random.Random(1), Counter()
    for number in range(4000):
        data = cv2.imencode(".jpg", drawn(number % 200))[1].tobytes()
        at = chance.randrange(len(data) * 4 // 5, len(data) - 2)
        try:
            image_from_bytes(data[:at] + (b"\xff\xd9" if number % 2 else b""))
            counts["judged"] += 1
        except ImageError:
            counts["refused"] += 1
    tell("cut JPEGs", counts)
    assert counts["judged"] <= 4000 * 0.002, "only what ends in padding may look whole"


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("way", ["packets", "pictures"])
@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_no_picture_that_builds_on_lost_ones_is_judged(servers, way, rate, b_frames, codec) -> None:
    decoder, chance = av.CodecContext.create(codec, "r"), random.Random(2)
    decoder.thread_count = 1
    filmed: set[int] = set()
    judged: list[int] = []
    counts: Counter = Counter()

    def spoil(number: int, data: bytes) -> bytes:
        for frame in decoder.decode(av.Packet(data)):
            filmed.add(hash(frame.to_ndarray(format="bgr24").tobytes()))
        is_lost = way == "pictures" and chance.random() < rate
        counts["pictures lost"] += is_lost
        return b"" if is_lost else data

    def lose(number: int, payload: bytes) -> bool:
        is_lost = way == "packets" and chance.random() < rate
        counts["packets lost"] += is_lost
        return is_lost

    with servers.Camera(servers.RtspHandler) as camera:
        camera.spoil, camera.lose = spoil, lose
        camera.codec, camera.b_frames = codec, b_frames
        until = time.monotonic() + SECONDS
        with open_source(f"rtsp://127.0.0.1:{camera.port}/video") as source:
            for frame in source:
                if frame.image is None:
                    counts["refused"] += 1
                else:
                    judged.append(hash(frame.image.tobytes()))
                if time.monotonic() > until:
                    break
    counts["judged as filmed"] = sum(picture in filmed for picture in judged)
    counts["judged and changed"] = len(judged) - counts["judged as filmed"]
    tell(f"{codec}, {b_frames} B frames, over RTP, {way} {rate:.0%}", counts)
    assert counts["judged and changed"] == 0
    assert counts["judged as filmed"] > 5, "of whole groups between two losses"


def write_video(path: Path, codec: str, lost: set[int], number_of: int = 80) -> None:
    options = {"g": "20", "bf": "2", "sc_threshold": "0"}
    options["x265-params"] = "log-level=none:keyint=20:open-gop=0"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 320, 240, "yuv420p", options
        packets = []
        for number in range(number_of):
            frame = av.VideoFrame.from_ndarray(drawn(number // 10), format="bgr24")
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for place, packet in enumerate(packets):
            if place not in lost:
                container.mux(packet)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_no_frame_of_a_file_that_builds_on_lost_ones_is_judged(tmp_path, codec) -> None:
    write_video(tmp_path / "whole.mkv", codec, set())
    with open_source(tmp_path / "whole.mkv") as source:
        filmed = {frame.image.tobytes() for frame in source}
    chance, counts = random.Random(3), Counter()
    for _ in range(60):
        lost = {place for place in range(1, 80) if chance.random() < 0.05}
        write_video(tmp_path / "lost.mkv", codec, lost)
        counts["lost"] += len(lost)
        with open_source(tmp_path / "lost.mkv") as source:
            for frame in source:
                if frame.image is None:
                    counts["refused"] += 1
                else:
                    same = frame.image.tobytes() in filmed
                    counts["judged as filmed" if same else "judged and changed"] += 1
    tell(codec, counts)
    assert counts["judged and changed"] == 0
