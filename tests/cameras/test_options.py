"""Options, names and the table of schemes: what a user may write, and hostile text."""

from __future__ import annotations

import re
import string
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import cameras.devices.genicam
import cameras.devices.gstreamer
import cameras.devices.network
import cameras.devices.replay
import cameras.devices.v4l2
from cameras.capture.device import device_from_json, json_from_device
from cameras.connect import SCHEMES, open_source
from cameras.errors import CameraError, SourceError
from cameras.options import OpenOptions, words_from_query
from cameras.redaction import redact_address, redact_pipeline

SECRET = "Zq9secret"
MODULES = (
    cameras.devices.genicam,
    cameras.devices.gstreamer,
    cameras.devices.network,
    cameras.devices.replay,
    cameras.devices.v4l2,
)


class Recorder:
    """Takes the place of the live source: keeps how the camera would have been opened."""

    last: Recorder | None = None

    def __init__(self, device, *, name, stall_after, check, repeats=False) -> None:
        self.device, self.name, self.check = device, name, check
        self.stall_after = stall_after
        Recorder.last = self

    def close(self) -> None:
        pass


@pytest.fixture
def recorder(monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "LiveSource", Recorder)
    monkeypatch.setattr(cameras.devices.gstreamer, "_require_gstreamer", lambda name: None)
    Recorder.last = None
    return Recorder


def test_words_have_values_once() -> None:
    assert words_from_query("x", "a=1&b=&c=%2Fdev%2F+x=y") == {"a": "1", "b": "", "c": "/dev/+x=y"}
    for query in ("a", "=1", "a=1&a=2", "a=%00"):
        with pytest.raises(SourceError):
            words_from_query("x", query)


def test_an_unknown_word_is_named_with_those_that_are_known() -> None:
    options = OpenOptions("cam", {"siz": "1x1"})
    options.size("size")
    options.flag("newest")
    with pytest.raises(SourceError, match=r"cam: unknown option 'siz'; known: size, newest"):
        options.refuse_unknown()


@pytest.mark.parametrize(
    ("ask", "value"),
    [
        (lambda o: o.number("w", low=0, high=1), "nan"),
        (lambda o: o.number("w", low=0, high=1), "2"),
        (lambda o: o.number("w", low=0, high=1), "inf"),
        (lambda o: o.number("w", low=0, high=1), ""),
        (lambda o: o.whole("w", low=0, high=9), "1.5"),
        (lambda o: o.size("w"), "0x480"),
        (lambda o: o.size("w"), "640"),
        (lambda o: o.size("w"), "640x-480"),
        (lambda o: o.flag("w"), "maybe"),
        (lambda o: o.choice("w", ("tcp", "udp")), "TCP"),
    ],
)
def test_a_value_that_makes_no_sense_is_an_error(ask, value) -> None:
    with pytest.raises(SourceError, match=r"^cam: w must be"):
        ask(OpenOptions("cam", {"w": value}))


def test_options_given_beside_the_address_win(recorder, tmp_path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    open_source(f"replay:{path}?fps=5", options={"fps": 7.5})
    assert recorder.last.device.rate_hz == 7.5
    with open_source("post://:0", options={"newest": True, "queue": 3.0}) as source:
        assert source.live
    with pytest.raises(SourceError, match="unknown option 'fps'; it takes none"):
        open_source(path, options={"fps": 5})


@pytest.mark.parametrize(
    ("address", "target", "transport"),
    [
        ("rtsp://h/1?channel=2#transport=udp", "rtsp://h/1?channel=2", "udp"),
        ("rtsp://op:a#b=c@h/1", "rtsp://op:a%23b=c@h/1", None),
        ("http://h/#video", "http://h/#video", None),
        ("HTTP://h/video?size=3", "http://h/video?size=3", None),
    ],
)
def test_the_query_is_the_cameras_and_options_follow_a_hash(
    recorder, address, target, transport
) -> None:
    open_source(address)
    device = recorder.last.device
    assert device.target == target
    assert dict(device.ffmpeg).get("rtsp_transport") == transport


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("rtsp://h/1#transport=tls", "transport must be tcp or udp"),
        ("rtsp://h/1#speed=2", "unknown option 'speed'; known: transport"),
        ("https://h/1#ca=/nowhere.pem", "ca must be the path of a PEM file"),
        ("http://h/1#ca=/nowhere.pem", "unknown option 'ca'"),
        ("csi://0?flip=8", "flip must be"),
        ("csi:0", "no such file"),
        ("gst:", "without a pipeline"),
        ("genicam:1?size=0x0", "size must be"),
        ("genicam:1?producer=/etc/passwd", "no such .cti file"),
        ("genicam:1", "no GenTL producer"),
        ("replay:/nowhere.mp4", "no such file"),
        ("watch:/nowhere", "no such folder"),
        ("post://127.0.0.1", "port is missing"),
        ("tcp://127.0.0.1:5000", "unknown scheme"),
        ("post://cam.example.com:5000", "no IP address"),
        ("post://127.0.0.1:70000", "port must be a number from 0 to 65535"),
        ("post://127.0.0.1:-1", "port must be a number from 0 to 65535"),
        ("post://127.0.0.1:http", "port must be a number from 0 to 65535"),
        ("post://127.0.0.1:", "port is missing"),
        ("post://[::1]", "port is missing"),
        ("post://::1:5000", "an IPv6 address stands in brackets"),
        ("post://0.0.0.0:5000", "others can reach this address; give token_file"),
        ("post://[::]:5000", "others can reach this address"),
        ("post://0.0.0.0:5000?token=short", "token must be 16 to 1024"),
        ("post://:5000?token=0123456789abcdef&token_file=/x", "exclude each other"),
        ("post://:5000?token_file=/nowhere", "token_file cannot be read"),
        ("post://:0?queue=0", "queue must be a number"),
        ("~nobody-has-this-name/x.png", "no such file"),
        ("x" * 5000, "File name too long"),
    ],
)
def test_wrong_addresses_are_told_in_one_line(monkeypatch, address, words) -> None:
    monkeypatch.delenv("GENICAM_GENTL64_PATH", raising=False)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(address)
    assert "\n" not in str(caught.value)


def test_every_scheme_is_in_the_table_and_the_unknown_ones_are_told() -> None:
    with pytest.raises(SourceError, match="known: " + ":, ".join(SCHEMES)):
        open_source("gopher://h/1")


@pytest.mark.parametrize(
    "address",
    [
        f"rtsp:/op:{SECRET}@h/1",
        f"rtsp:op:{SECRET}@h/1",
        f"rtsp//op:{SECRET}@h/1",
        f"op:{SECRET}@h/1",
        f"rstp://op:{SECRET}@h/1",
        f"http:/h/video?x@y:&pwd={SECRET}&a@b",
        f"genicam://op:{SECRET}@h",
        f"csi://op:{SECRET}@0",
        f"post://op:{SECRET}@127.0.0.1:0",
        f"post://0.0.0.0:1?newest=maybe&token={SECRET}{SECRET}",
        f"post://:1?token={SECRET}{SECRET}&nothing=1",
    ],
)
def test_a_mistyped_address_tells_no_password(address) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(address)
    assert SECRET not in str(caught.value)


WORD = st.text(string.ascii_letters + string.digits + "_-%+./:@#!", max_size=12)
QUERY = st.lists(
    st.tuples(
        st.sampled_from(["size", "fps", "format", "queue", "newest", "token", "Width", "producer"])
        | WORD,
        WORD | st.sampled_from(["640x480", "1", "on", "30"]),
    ),
    max_size=4,
).map(lambda pairs: "&".join(f"{word}={value}" for word, value in pairs))
ADDRESS = st.tuples(
    st.sampled_from([*SCHEMES, "RTSP", "ftp", ""]),
    st.sampled_from(["://", ":", ":///", ""]),
    st.text(max_size=20) | WORD,
    st.sampled_from(["", "?", "#"]),
    QUERY | st.text(max_size=10),
).map("".join)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ADDRESS | st.text(max_size=30))
@example("v4l2:\ud800")
@example("watch:\ud800?pattern=\udfff")
@example("replay:~\0")
def test_any_text_is_a_source_or_one_line(recorder, monkeypatch, tmp_path, text) -> None:
    monkeypatch.chdir(tmp_path)
    # The whole machine's files are no test's business.
    assume("**" not in text and not re.fullmatch(r"(\w+:)?[/.]+\W*", text))
    try:
        source = open_source(text)
    except CameraError as error:
        assert str(error).isprintable(), ascii(str(error))
        return
    with_device = recorder.last
    assert source.name.isprintable()
    source.close()
    if source is with_device:
        assert device_from_json(json_from_device(with_device.device)) == with_device.device


@given(
    st.text(max_size=40), st.text(string.ascii_letters + string.digits + "/?#@:%&=! ", max_size=9)
)
@example("", "://")
def test_no_part_of_a_password_survives_wherever_it_stands(around, tail) -> None:
    secret = f"Zq9{tail}Zq9"
    for scheme in ("rtsp://", "rtsp:/", "rtsp:", "http://", ""):
        assert "Zq9" not in redact_address(f"{scheme}op:{secret}@{around.replace('@', '')}")
    pipeline = f'rtspsrc location="rtsp://op:{secret}@h/1" user-pw="{tail}Zq9" ! decodebin'
    assert "Zq9" not in redact_pipeline(pipeline)


def test_a_pipeline_is_shown_without_secrets_and_ends_in_the_newest_frame(recorder) -> None:
    open_source(f"gst:rtspsrc location=rtsp://op:{SECRET}@h/1 user-pw={SECRET} ! decodebin !")
    assert SECRET not in recorder.last.name
    target = recorder.last.device.target
    assert target.startswith(f"rtspsrc location=rtsp://op:{SECRET}@h/1")
    assert target.endswith("format=BGR ! appsink drop=true max-buffers=1 sync=false")
    assert target.count("appsink") == 1
    open_source("gst:videotestsrc ! videoconvert ! appsink")
    assert recorder.last.device.target == "videotestsrc ! videoconvert ! appsink"


def test_a_csi_camera_is_a_pipeline(recorder) -> None:
    open_source("csi://1?size=1280x720&fps=59.94&flip=2&exposure_ms=5&gain=1.5")
    target = recorder.last.device.target
    assert target.startswith(
        'nvarguscamerasrc sensor-id=1 exposuretimerange="5000000 5000000" gainrange="1.5 1.5" ! '
        "video/x-raw(memory:NVMM),width=1280,height=720,format=NV12,framerate=59940/1000 ! "
        "nvvidconv flip-method=2 !"
    )


def test_a_csi_camera_crops_and_scales_in_the_image_processor(recorder) -> None:
    open_source("csi://0?crop=420,0,1080,1080&flip=1&scale=512x512")
    target = recorder.last.device.target
    assert target.endswith(
        "nvvidconv left=420 right=1500 top=0 bottom=1080 ! "
        "video/x-raw(memory:NVMM),width=1080,height=1080,format=NV12 ! "
        "nvvidconv flip-method=1 ! video/x-raw,width=512,height=512,format=BGRx ! "
        "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    )
    open_source("csi://0?size=1280x720")
    assert recorder.last.device.target.count("nvvidconv") == 1


@pytest.mark.parametrize(
    "crop", ["0,0,0,2", "1,0,2,2", "0,0,1922,2", "0,2,2,1080", "0,0,2", "-2,0,2,2", "٢,0,2,2"]
)
def test_a_crop_that_cannot_be_is_refused(crop, recorder) -> None:
    with pytest.raises(SourceError, match=r"crop must be X,Y,WIDTH,HEIGHT: even .* 1920x1080"):
        open_source(f"csi://0?crop={crop}")


def test_a_pattern_below_dev_is_no_camera(tmp_path) -> None:
    with pytest.raises(SourceError, match="no image matches"):
        open_source(str(Path("/dev/shm/no-such-folder-here/part?.png")))
