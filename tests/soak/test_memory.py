"""Pictures that ask for much memory, many at once, against the real process: its peak is bounded.

What one of 100 megapixels takes to be decoded, the queue, what sixteen hosts send at once, one
that is inspected, and the program itself.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from running import Running

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
BOUND = 4 << 30  # bytes
SECONDS = 30
LITTLE = 2500 << 20  # bytes: twice what the program itself has reserved
SIDE = 9999  # px


def bombs() -> dict[str, bytes]:
    """Small files of large pictures, one that is large itself, and one of thousands of scans."""
    deep, tiff = np.zeros((SIDE, SIDE, 3), np.uint16), io.BytesIO()
    tifffile.imwrite(tiff, deep, photometric="rgb", compression="zlib", rowsperstrip=SIDE)
    png = cv2.imencode(".png", deep)[1].tobytes()
    webp, scans = io.BytesIO(), io.BytesIO()
    Image.new("RGBA", (8000, 8000)).save(webp, "WEBP", lossless=True, method=0)
    Image.new("L", (4096, 4096), 128).save(scans, "JPEG", progressive=True)
    data = scans.getvalue()
    end = data.rfind(b"\xff\xd9")
    return {
        "deep.png": png,
        "flat.jpg": cv2.imencode(".jpg", deep[..., 0].astype(np.uint8))[1].tobytes(),
        "deep.tif": tiff.getvalue(),
        "fat.bmp": cv2.imencode(".bmp", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
        + bytes(60 << 20),
        "clear.webp": webp.getvalue(),
        "scans.jpg": data[:end] + data[data.rfind(b"\xff\xda") : end] * 3000 + data[end:],
    }


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return bombs()


def start(folder: Path, bundle: Path, source: str, address_space: int) -> Running:
    words = ("stream", source, "--bundle", str(bundle), "--engine", "onnxruntime", "--no-show")
    words += ("--results", "results.jsonl", "--monitor", "127.0.0.1:0")
    return Running(folder, *words, address_space=address_space)


def post(port: int, data: bytes) -> int:
    """The answer's status; 0 when the connection ended before, as where no thread can be had."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/", data, {"Content-Type": "image/png"})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def verdicts(folder: Path) -> Counter:
    lines = (folder / "results.jsonl").read_text().splitlines()
    return Counter(json.loads(line)["verdict"] for line in lines)


def finish(stream: Running, limit: int, folder: Path) -> Counter:
    """End it; what was judged."""
    report = stream.health()
    assert report["ready"] and report["thread_failures"] == 0, report
    peak = stream.peak_bytes()
    assert stream.end(15) == 0, stream.log.read_text()
    found = verdicts(folder)
    print(f"\npeak {peak >> 20} MiB of {(limit or BOUND) >> 20}, {dict(found)}")
    assert peak < (limit or BOUND)
    return found


@pytest.mark.parametrize("limit", [0, LITTLE])
def test_hosts_that_push_bombs(limit, bundle, files, tmp_path) -> None:
    good = min((bundle.parent / "images" / "train" / "good").iterdir()).read_bytes()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free_port = probe.getsockname()[1]
    stream = start(tmp_path, bundle, f"post://127.0.0.1:{free_port}?queue=1000", limit)
    statuses: Counter = Counter()
    stream.wait(lambda: stream.health().get("ready"))
    until = time.monotonic() + SECONDS

    def hammer(first: int) -> None:
        names = sorted(files)
        while time.monotonic() < until:
            first += 1
            statuses[post(free_port, files[names[first % len(names)]])] += 1

    hosts = [threading.Thread(target=hammer, args=(number,)) for number in range(12)]
    try:
        for host in hosts:
            host.start()
        taken = 0
        while time.monotonic() < until:
            taken += post(free_port, good) == 202
        for host in hosts:
            host.join()
        print(f"\n{dict(statuses)}, {taken} good ones taken")
        assert set(statuses) <= {0, 202, 408, 422, 503}
        stream.wait(lambda: verdicts(tmp_path)["OK"] >= taken)
        assert finish(stream, limit, tmp_path)["OK"] == taken > 0
    finally:
        stream.process.kill()


@pytest.mark.parametrize("limit", [0, LITTLE])
def test_a_folder_into_which_bombs_are_laid(limit, bundle, files, tmp_path) -> None:
    good = min((bundle.parent / "images" / "train" / "good").iterdir()).read_bytes()
    watched = tmp_path / "in"
    watched.mkdir()
    stream = start(tmp_path, bundle, f"watch:{watched}", limit)
    try:
        stream.wait(lambda: stream.health().get("ready"))
        for number in range(3):
            for name, data in files.items():
                for own, content in ((f"{number}{name}", data), (f"{number}{name}.png", good)):
                    (watched / f".{own}").write_bytes(content)
                    (watched / f".{own}").rename(watched / own)
        stream.wait(lambda: sum(verdicts(tmp_path).values()) >= 6 * len(files))
        assert finish(stream, limit, tmp_path) == {"OK": 3 * len(files), "ERROR": 3 * len(files)}
    finally:
        stream.process.kill()
