"""`edge capture`: pictures equal to what the camera gave, the right ones, none half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import noise
from streaming import COMMAND

from cameras.frame import Frame
from edge.capturing.choosers import Triggers, every_nth, every_seconds, when_changed
from edge.capturing.hints import PictureHints
from edge.capturing.writer import PictureWriter

SIZE = (96, 128)
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
        process.stdin.write(b"\xff\n" if count == 1 else b"\n")
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
    chooser = when_changed()
    places = [0, 0, 0, 20, 40, 60, 60, 60, 60]  # a part that rests, moves on, and rests
    assert [chooser(frame_of(part_at(place))) for place in places] == [
        *(False, True, False),
        *(False, False, False),
        *(True, False, False),
    ]


def test_a_trigger_takes_the_first_frame_after_it() -> None:
    triggers = Triggers()
    triggers.trigger(int(1.5e9))
    assert [triggers(frame_of(at_s=at)) for at in (1.0, 2.0, 3.0)] == [False, True, False]


def test_what_the_disk_is_too_slow_for_is_counted(tmp_path) -> None:
    image = noise(0, (480, 640))
    with PictureWriter(tmp_path, max_bytes=image.nbytes) as writer:
        taken = [writer.put(image, 0, number, waits=False) for number in range(50)]
        waited = writer.put(image, 0, 50, waits=True)
    assert waited
    assert writer.saved == sum(taken) + 1 == len([*tmp_path.iterdir()])
    assert writer.losses.count == taken.count(False) > 0


def test_what_is_amiss_is_said_once() -> None:
    hints = PictureHints(None)
    sharp = np.kron(noise(1, (48, 64)), np.ones((8, 8, 1), np.uint8))
    said = [line for _ in range(12) for line in hints.look(sharp)]
    assert [line.split(":")[0] for line in said] == ["alike"]
    said = [*hints.look(cv2.GaussianBlur(sharp, (0, 0), 6)), *hints.look(sharp // 16)]
    assert [line.split(":")[0] for line in said] == ["blurred", "dark"]
    assert next(hints.look(np.full_like(sharp, 255))).startswith("burnt out: 100%")
    assert hints.count_different() >= 3
