"""Cameras for the tests: an HTTP-MJPEG server and an RTSP server, each with switches.

Every picture carries its running number as black and white squares, which survive compression.
As a program, ``servers.py rtsp 30``, it is a camera of its own (see `CameraProcess`).
"""

from __future__ import annotations

import contextlib
import fractions
import http.server
import json
import signal
import socketserver
import subprocess
import sys
import threading
import time

import cv2
import numpy as np

SIZE = (320, 240)
BITS, SIDE = 16, 16


def numbered(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draw a running number into a picture of (width, height), (H, W, 3) uint8 BGR."""
    image = np.full((size[1], size[0], 3), (120, 60, 30), np.uint8)
    for bit in range(BITS):
        value = 255 if number >> bit & 1 else 0
        image[:SIDE, bit * SIDE : (bit + 1) * SIDE] = value
    x = number * 5 % (size[0] - 40)
    cv2.circle(image, (x + 20, 140), 18, (60, 200, 240), -1)
    return image


def number_in(image: np.ndarray) -> int:
    """Read the running number back."""
    middle = SIDE // 2
    return sum(1 << bit for bit in range(BITS) if image[middle, bit * SIDE + middle].mean() > 127)


class _Threading(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = False
    block_on_close = True


class Camera:
    """A server in threads: `stall` keeps connections and sends nothing, `cut` ends them."""

    def __init__(self, handler: type, *, rate_hz: float = 25.0, port: int = 0) -> None:
        self.rate_hz = rate_hz
        self.size = SIZE  # may be changed at any time
        self.key_every = 10  # RTSP: pictures
        self.codec, self.b_frames = "h264", 0  # RTSP: h264 or hevc
        # What is sent in place of the data of a picture of this number; nothing of b"".
        self.spoil = lambda number, data: data
        # RTSP: whether a packet of that picture gets lost on its way: it has its running number.
        self.lose = lambda number, payload: False
        self.stalled = threading.Event()
        self.ended = threading.Event()
        self.began = time.monotonic()
        self.clients = 0
        self._server = _Threading(("127.0.0.1", port), handler)
        self._server.camera = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def number(self) -> int:
        """The number of the picture that is due now."""
        return int((time.monotonic() - self.began) * self.rate_hz)

    def numbers(self):
        """Yield each number when it is due, none while stalled, until the server ends."""
        last = -1
        while not self.ended.is_set():
            number = self.number()
            if number == last or self.stalled.is_set():
                time.sleep(0.002)
                continue
            last = number
            yield number

    def close(self) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


class MjpegHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        camera = self.server.camera
        if self.path.startswith("/mute"):
            camera.ended.wait()
            return
        if self.path.startswith("/private") and "Authorization" not in self.headers:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        if not self.path.startswith("/video"):
            self.send_error(404)
            return
        camera.clients += 1
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in camera.numbers():
                data = cv2.imencode(".jpg", numbered(number, camera.size))[1].tobytes()
                data = camera.spoil(number, data)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
        except OSError:
            pass  # the client left

    def log_message(self, *_) -> None:
        pass


RTP_NAMES = {"h264": "H264", "hevc": "H265"}


class RtspHandler(socketserver.StreamRequestHandler):
    """One client: DESCRIBE, SETUP (interleaved), PLAY, then RTP (RFC 2326, 6184, 7798)."""

    def handle(self) -> None:
        self.sequence = 0
        self.playing = threading.Event()
        self.left = threading.Event()
        sender = threading.Thread(target=self._send)
        sender.start()
        try:
            while request := self._request():
                self._answer(*request)
        except OSError:
            pass
        finally:
            self.left.set()
            sender.join()

    def _request(self):
        self.connection.settimeout(0.05)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            try:
                byte = self.connection.recv(1)
            except TimeoutError:
                if self.server.camera.ended.is_set():
                    return None
                continue
            if not byte:
                return None
            head += byte
            if head[:1] == b"$" and len(head) == 4:  # RTCP from the client
                self.connection.recv(int.from_bytes(head[2:4], "big"))
                head = b""
        lines = head.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        return lines[0].split(" ")[0], lines[0].split(" ")[1], fields

    def _answer(self, method, address, fields) -> None:
        extra, body = "", ""
        if method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\n"
                f"a=rtpmap:96 {RTP_NAMES[self.server.camera.codec]}/90000\r\n"
                "a=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            )
            extra = f"Content-Base: {address}/\r\nContent-Type: application/sdp\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1;timeout=60\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        text = f"RTSP/1.0 200 OK\r\nCSeq: {fields['CSeq']}\r\n{extra}"
        text += f"Content-Length: {len(body)}\r\n\r\n{body}" if body else "\r\n"
        self.connection.sendall(text.encode())
        if method == "PLAY":
            self.server.camera.clients += 1
            self.playing.set()

    def _send(self) -> None:
        while not self.playing.wait(0.02):
            if self.left.is_set():
                return
        camera = self.server.camera
        size = encode = None
        try:
            for number in camera.numbers():
                if self.left.is_set():
                    return
                if size != camera.size:
                    size = camera.size
                    encode = _encode_with(_encoder(camera))
                image = numbered(number, size)
                self.number = number
                for data, pts in encode(image, round(number * 90_000 / camera.rate_hz)):
                    self._send_units(camera.spoil(number, data), pts)
        except OSError:
            pass  # the client left

    def _send_units(self, data: bytes, pts: int) -> None:
        units = [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1") if unit.strip(b"\0")]
        for place, unit in enumerate(units):
            last = place == len(units) - 1
            if len(unit) <= 1200:
                self._send_rtp(unit, pts, last)
                continue
            header, kind, rest = bytes([unit[0] & 0xE0 | 28]), unit[0] & 0x1F, unit[1:]
            if self.server.camera.codec == "hevc":
                header, kind, rest = bytes([49 << 1, unit[1]]), unit[0] >> 1 & 0x3F, unit[2:]
            pieces = [rest[i : i + 1200] for i in range(0, len(rest), 1200)]
            for i, piece in enumerate(pieces):
                end = i == len(pieces) - 1
                flags = (0x80 if i == 0 else 0) | (0x40 if end else 0) | kind
                self._send_rtp(header + bytes([flags]) + piece, pts, last and end)

    def _send_rtp(self, payload: bytes, pts: int, marker: bool) -> None:
        self.sequence = self.sequence + 1 & 0xFFFF
        if self.server.camera.lose(self.number, payload):
            return
        head = bytes([0x80, 96 | (0x80 if marker else 0)]) + self.sequence.to_bytes(2, "big")
        packet = head + (pts & 0xFFFFFFFF).to_bytes(4, "big") + b"edge" + payload
        self.connection.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)


def _encoder(camera):
    """Return what compresses a camera's pictures."""
    import av  # takes its time, and only this camera needs it

    rate_hz, b_frames = round(camera.rate_hz), str(camera.b_frames)
    context = av.CodecContext.create({"h264": "libx264", "hevc": "libx265"}[camera.codec], "w")
    context.width, context.height, context.pix_fmt = *camera.size, "yuv420p"
    context.time_base = fractions.Fraction(1, 90_000)
    context.framerate = fractions.Fraction(rate_hz, 1)
    context.gop_size = camera.key_every
    context.options = {"preset": "ultrafast", "threads": "1", "bf": b_frames}
    if camera.codec == "hevc":
        own = f"log-level=none:keyint={camera.key_every}:bframes={b_frames}:pools=1:frame-threads=1"
        context.options |= {"x265-params": own}
    if not camera.b_frames:
        context.options |= {"tune": "zerolatency"}
    return context


def _encode_with(context):
    """Return what turns a picture into packets, each with its time."""
    import av

    def encode(image, pts):
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts = pts
        return [(bytes(packet), packet.pts) for packet in context.encode(frame)]

    return encode


class MuteHandler(socketserver.BaseRequestHandler):
    """Accepts and never says anything."""

    def handle(self) -> None:
        self.server.camera.ended.wait()


HANDLERS = {"http": MjpegHandler, "rtsp": RtspHandler, "mute": MuteHandler}


class CameraProcess:
    """A camera in a process of its own, which can be stopped and killed.

    Args:
        scheme: ``http`` or ``rtsp``.
        port: 0 = any that is free; one that a killed camera had may be taken again.
    """

    def __init__(self, scheme: str, *, rate_hz: float = 25.0, port: int = 0) -> None:
        self.rate_hz = rate_hz
        self._process = subprocess.Popen(
            [sys.executable, __file__, scheme, str(rate_hz), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        told = json.loads(self._process.stdout.readline())
        self.port, self.began = told["port"], told["began"]
        self.address = f"{scheme}://operator:Zq9secret@127.0.0.1:{self.port}/video"

    def number(self) -> int:
        """The number of the picture that is due now."""
        return int((time.monotonic() - self.began) * self.rate_hz)

    def age_s(self, image: np.ndarray) -> float:
        """How long ago this picture was due."""
        return time.monotonic() - self.began - number_in(image) / self.rate_hz

    def order(self, word: str) -> None:
        """Tell it to ``stall``, ``go``, or be of a size, ``640x480``."""
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Stop, continue or kill it."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


def main(scheme: str, rate_hz: str, port: str) -> None:
    """Be a camera until standard input ends."""
    camera = Camera(HANDLERS[scheme], rate_hz=float(rate_hz), port=int(port))
    if scheme == "rtsp":
        import av  # noqa: F401 - now, and not when the first picture is due
    with camera:
        print(json.dumps({"port": camera.port, "began": camera.began}), flush=True)
        for line in sys.stdin:
            word = line.strip()
            if word == "stall":
                camera.stalled.set()
            elif word == "go":
                camera.stalled.clear()
            else:
                width, height = word.split("x")
                camera.size = int(width), int(height)


if __name__ == "__main__":
    main(*sys.argv[1:])
