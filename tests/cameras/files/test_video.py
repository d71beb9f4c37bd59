"""Video files: what is whole is read whole, what is damaged is never judged."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from cameras.connect import open_source
from cameras.errors import SourceError

SIZE = (64, 48)


def picture(number: int) -> np.ndarray:
    image = np.full((SIZE[1], SIZE[0], 3), number * 7 % 256, np.uint8)
    image[: SIZE[1] // 2, : SIZE[0] // 2] = 200
    return image


def write(path: Path, times_ms, *, codec: str = "libx264", options=None) -> None:
    """A video whose frames come at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options or {}
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(picture(number), format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read(path: Path) -> list:
    with open_source(path) as source:
        return list(source)


def changed(path: Path, change) -> Path:
    """The same file with its bytes changed."""
    other = path.with_name(f"changed{path.suffix}")
    other.write_bytes(change(path.read_bytes()))
    return other


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_of_any_rate_is_whole(tmp_path, suffix) -> None:
    """At 25 frames/s and then one in two seconds: its length is no count of frames."""
    path = tmp_path / f"line{suffix}"
    write(path, [*range(0, 400, 40), *range(2400, 22400, 2000)])
    frames = read(path)
    assert [frame.reason for frame in frames] == [""] * 20
    end = changed(path, lambda data: data[: len(data) * 3 // 4] if suffix == ".mkv" else data)
    if suffix == ".mkv":
        frames = read(end)
        assert 0 < len(frames) < 20
        assert "damaged" in frames[-1].reason


def test_a_missing_codec_is_named(tmp_path) -> None:
    write(tmp_path / "line.mp4", range(0, 200, 40))
    path = changed(tmp_path / "line.mp4", lambda data: data.replace(b"avc1", b"evc1"))
    with pytest.raises(SourceError, match="coded as evc, which this FFmpeg cannot decode"):
        open_source(path)


def test_pictures_are_those_that_opencv_reads(tmp_path) -> None:
    """Also turned: a bundle learns from either."""
    path = tmp_path / "line.mp4"
    write(path, range(0, 400, 40))
    at = path.read_bytes().find(b"tkhd") + 44
    quarter = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 65536, 0, -65536, 0))
    turned = changed(path, lambda data: data[:at] + quarter + data[at + len(quarter) :])
    for name in (path, turned):
        capture = cv2.VideoCapture(str(name), cv2.CAP_FFMPEG)
        for frame in read(name):
            good, image = capture.read()
            assert good
            assert np.array_equal(frame.image, image)
        capture.release()


def test_a_cut_jpeg_in_a_video_is_an_error_and_the_others_are_read(tmp_path) -> None:
    """Its missing rest would be rows of the picture before."""
    path = tmp_path / "line.avi"
    write(path, range(0, 400, 40), codec="mjpeg")

    def cut(data: bytes) -> bytes:
        ends = [at for at in range(len(data)) if data.startswith(b"\xff\xd9", at)]
        whole = bytearray(data)
        whole[ends[4] - 40 : ends[4] + 2] = bytes(42)
        return bytes(whole)

    frames = read(changed(path, cut))
    assert [frame.image is None for frame in frames] == [number == 4 for number in range(10)]
    assert "frame 4: this JPEG is cut short" in frames[4].reason
