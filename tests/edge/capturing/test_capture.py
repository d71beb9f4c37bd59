"""`edge capture`: pictures equal to what the camera gave, the right ones, none half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay import Replay
from results import noise
from streaming import COMMAND

from cameras.errors import CameraError
from cameras.frame import Frame
from edge.capturing.choosers import WhenChanged, every_nth, every_seconds
from edge.capturing.folder import PictureFolder
from edge.capturing.hints import PictureHints
from edge.capturing.triggers import Triggers
from edge.capturing.writer import PictureWriter
from edge.sinks.pictures import write_whole

SIZE = (96, 128)
SAME = "20260131T000000.000Z_000001"
GREY = np.full((*SIZE, 3), 128, np.uint8)


def frame_of(image: np.ndarray = GREY, *, index: int = 0, at_s: float = 0.0) -> Frame:
    return Frame("cam", index, 0, int(at_s * 1e9), image)


def part_at(column: int) -> np.ndarray:
    image = GREY.copy()
    image[30:60, column : column + 30] = 250
    return image


@pytest.fixture
def line(tmp_path) -> Path:
    """Twelve different pictures that a camera shows."""
    folder = tmp_path / "line"
    folder.mkdir()
    for number in range(12):
        cv2.imwrite(str(folder / f"{number:02d}.png"), noise(number, SIZE))
    return folder


def pictures_in(folder: Path) -> list[np.ndarray]:
    assert not [*folder.glob("*.part")]
    return [cv2.imread(str(path)) for path in sorted(folder.iterdir())]


def test_pictures_are_what_the_source_gave_bit_by_bit(run, line, tmp_path) -> None:
    outcome = run("capture", line, "out", "--nth", 3, "--json")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    assert (found["frames"], found["saved"], found["lost"], found["different"]) == (12, 4, 0, 4)
    for number, picture in zip(range(0, 12, 3), pictures_in(tmp_path / "out"), strict=True):
        assert (picture == noise(number, SIZE)).all()


def test_a_camera_of_edge_toml_is_captured_as_it_is_inspected(run, line, tmp_path) -> None:
    (tmp_path / "edge.toml").write_text(
        '[cameras.left]\nsource = "watch:nowhere"\n'
        f'[cameras.right]\nsource = "replay:{line}"\noptions = {{ fps = 60 }}\n'
        'roi = "10,10,64,64"\n'
    )
    outcome = run("capture", "right", "out", "--count", 5, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["saved"] == 5
    assert all(picture.shape == (*SIZE, 3) for picture in pictures_in(tmp_path / "out"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no source: name one"),
        (("line", "--nth", 2, "--every", 1), "--nth and --every: two ways to choose frames"),
        (("nowhere", "out"), "nowhere"),
        (("line", "line/00.png"), "name another folder"),
    ],
)
def test_what_cannot_be_is_one_line(run, line, words, says) -> None:
    outcome = run("capture", *words)
    assert outcome.code == 2
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_enter_takes_a_picture_and_the_end_of_the_lines_ends(line, tmp_path) -> None:
    words = ("capture", f"replay:{line}?fps=30", tmp_path / "out", "--triggered", "--json")
    process = subprocess.Popen(
        [*COMMAND, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert b"press Enter" in process.stderr.readline()
    for count in (1, 2):
        process.stdin.write(b"foo\n7\n" if count == 1 else b"\n")
        process.stdin.flush()
        until = time.monotonic() + 30
        while len([*(tmp_path / "out").glob("*.png")]) < count and time.monotonic() < until:
            time.sleep(0.02)
    process.stdin.write(b"\n")  # its frame is waited for
    process.stdin.close()
    assert process.wait(30) == 0
    assert json.loads(process.stdout.read())["saved"] == 3
    process.stdout.close()
    process.stderr.close()


def test_a_signal_ends_it_with_every_picture_whole(line, tmp_path) -> None:
    words = ("capture", f"replay:{line}?fps=60", tmp_path / "out", "--json")
    with subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.PIPE) as process:
        until = time.monotonic() + 30
        while len([*(tmp_path / "out").glob("*.png")]) < 5 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        found = json.loads(process.stdout.read())
    assert process.returncode == 0
    pictures = pictures_in(tmp_path / "out")
    assert len(pictures) == found["saved"] >= 5
    assert found["lost"] == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 20), st.integers(1, 100))
def test_every_nth_frame_and_so_many_seconds(nth, hundredths) -> None:
    chosen = [number for number in range(100) if every(nth)[number]]
    assert chosen == [*range(0, 100, nth)]
    chooser, seconds = every_seconds(hundredths / 10), hundredths / 10
    times = [number / 30 for number in range(600) if chooser(frame_of(at_s=number / 30))]
    assert len(times) == int(599 / 30 / seconds + 1e-9) + 1
    late = [at - round(number * seconds, 9) for number, at in enumerate(times)]
    assert all(-1e-6 <= one <= 1 / 30 + 1e-6 for one in late)


def every(nth: int) -> list[bool]:
    chooser = every_nth(nth)
    return [chooser(frame_of()) for _ in range(100)]


def test_a_new_part_is_saved_once_it_rests() -> None:
    chooser = WhenChanged()
    places = [0, 0, 0, 20, 40, 60, 60, 60, 60]  # a part that rests, moves on, and rests
    assert [chooser(frame_of(part_at(place))) for place in places] == [
        *(False, True, False),
        *(False, False, False),
        *(True, False, False),
    ]


def test_what_never_rests_is_said_once_and_again_after_a_rest() -> None:
    chooser, said = WhenChanged(), []
    for number in range(400):
        still = 200 <= number < 205
        chooser(frame_of(GREY if still else noise(number, SIZE), at_s=number / 100))
        said.append(chooser.hint())
    told = [number for number, hint in enumerate(said) if hint]
    assert len(told) == 2
    assert 100 < told[0] < 200 < told[1] < 360
    assert "at rest in 150 frames" in said[told[0]]
    assert "% of the picture changes" in said[told[0]]
    slow = WhenChanged()
    hints = [slow(frame_of(noise(n, SIZE), at_s=n)) or slow.hint() for n in range(8)]
    assert [bool(hint) for hint in hints].index(True) == 6
    assert slow.hint(at_end=True) == ""


def test_a_change_outside_the_region_is_none() -> None:
    chooser = WhenChanged((0, 0, 64, 96))
    places = [0, 0, 70, 70, 95, 95]  # from 64 on it is outside
    assert [chooser(frame_of(part_at(place))) for place in places] == [
        *(False, True),
        *(False, True),  # what was within has gone
        *(False, False),
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("train/good/0.png", "is a data set; such pictures belong into its train/good"),
        ("good/0.png", "is a data set"),
        ("results.db", "is what a station has kept"),
        ("manifest.json", "is a bundle"),
        ("edge.toml", "is a project's folder"),
        ("other.png", "have 64x48 px, this camera's 128x96"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(
    run, line, tmp_path, name, says
) -> None:
    place = tmp_path / "out" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(cv2.imencode(".png", noise(0, (48, 64)))[1].tobytes())
    outcome = run("capture", line, "out")
    assert outcome.code == 2
    assert says in outcome.err
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [place]


def test_what_is_there_stays_and_is_told(run, line, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("edge.capturing.writer.name_from_frame", lambda *_: SAME)
    out = tmp_path / "out"
    assert run("capture", line, "out", "--count", 2).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "other.png").write_bytes(next(iter(before.values())))
    (out / "20260131T000000.000Z_000009.png.part").touch()
    outcome = run("capture", line, "out", "--count", 3, "--json")
    assert "3 pictures are there already, 1 of them" in outcome.err
    assert json.loads(outcome.out)["saved"] == 3
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(after) == 6
    assert before.items() <= after.items()


def test_two_captures_do_not_share_a_folder(run, line, tmp_path) -> None:
    with PictureFolder(tmp_path / "out"):
        outcome = run("capture", line, "out")
    assert outcome.code == 2
    assert "writes there already; name another place" in outcome.err


def test_what_was_saved_before_the_camera_failed_is_told(run, line, tmp_path, monkeypatch) -> None:
    def images() -> Iterator[np.ndarray]:
        yield from (noise(number, SIZE) for number in range(3))
        raise CameraError("cam: the cable is gone")

    monkeypatch.setattr("edge.capturing.capture.open_source", lambda *_, **__: Replay(images()))
    outcome = run("capture", line, "out", "--json")
    assert outcome.code == 1
    assert "cam: the cable is gone" in outcome.err
    found = json.loads(outcome.out)
    assert (found["saved"], found["trouble"]) == (3, "cam: the cable is gone")
    assert len(pictures_in(tmp_path / "out")) == 3


def test_what_a_full_disk_takes_is_lost_and_not_saved(run, line, tmp_path, monkeypatch) -> None:
    left = iter([OSError(28, "No space left on device")] * 2)

    def write(place: Path, data: bytes) -> None:
        if (error := next(left, None)) is not None:
            raise error
        write_whole(place, data)

    monkeypatch.setattr("edge.capturing.writer.write_whole", write)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    outcome = run("capture", line, "out", "--json", "--count", 9)
    found = json.loads(outcome.out)
    assert (outcome.code, found["saved"], found["lost"]) == (1, 9, 2)  # of eleven
    assert len(pictures_in(tmp_path / "out")) == 9


def test_a_trigger_takes_the_first_frame_after_it() -> None:
    triggers = Triggers()
    triggers.trigger(int(1.5e9))
    assert [triggers(frame_of(at_s=at)) for at in (1.0, 2.0, 3.0)] == [False, True, False]


def test_what_the_disk_is_too_slow_for_is_counted_and_told_once(
    tmp_path, caplog, monkeypatch
) -> None:
    def write(place: Path, data: bytes) -> None:
        time.sleep(0.01)
        write_whole(place, data)

    monkeypatch.setattr("edge.capturing.writer.write_whole", write)
    image = noise(0, (480, 640))
    with (
        PictureFolder(tmp_path) as folder,
        PictureWriter(folder, max_bytes=3 * image.nbytes) as writer,
    ):
        taken = []
        for number in range(60):  # a little faster than they are written
            taken.append(writer.put(image, 0, number, waits=False))
            time.sleep(0.001)
        waited = writer.put(image, 0, 60, waits=True)
    assert waited
    assert writer.saved == len(taken) - taken.count(None) + 1 == len([*tmp_path.iterdir()])
    assert writer.losses.count == taken.count(None) > 0
    told = [one for one in caplog.records if "slower than the camera" in one.message]
    assert len(told) == 1


def test_what_is_amiss_is_said_once() -> None:
    hints = PictureHints(None)
    sharp = np.kron(noise(1, (48, 64)), np.ones((8, 8, 1), np.uint8))
    said = [line for _ in range(12) for line in hints.look(sharp)]
    assert [line.split(":")[0] for line in said] == ["alike"]
    said = [*hints.look(cv2.GaussianBlur(sharp, (0, 0), 6)), *hints.look(sharp // 16)]
    assert [line.split(":")[0] for line in said] == ["blurred", "dark"]
    assert next(hints.look(np.full_like(sharp, 255))).startswith("burnt out: 100%")
    assert hints.count_different() >= 3
