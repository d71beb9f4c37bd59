"""The README does what it says: its commands and its Python example are run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from plain_builds import leave_out

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALLS = "pip install"
CAMERAS = ("/dev/video0", "rtsp://")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
HERE = [line for line in COMMANDS if INSTALLS not in line and not any(c in line for c in CAMERAS)]
LIVE = [line for line in COMMANDS if any(camera in line for camera in CAMERAS)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which `edge demo` might have been run; only the pictures are smaller."""
    from edge.demo import draw_dataset

    folder = tmp_path_factory.mktemp("readme")
    (folder / "build/demo").mkdir(parents=True)
    draw_dataset(folder / "build/demo/images", good=12, test_good=3, defects_each=1, size=128)
    return folder


def edge(line: str, monkeypatch) -> int:
    from edge.cli.main import main

    words = shlex.split(line)
    assert words[0] == "edge"
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_commands_and_the_example_run_in_order(place, monkeypatch, capfd) -> None:
    leave_out(monkeypatch, compared=False)
    monkeypatch.chdir(place)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert len(HERE) >= 4
    for line in HERE:
        assert edge(line, monkeypatch) == 0, (line, capfd.readouterr().err)
    assert len(Path("results.jsonl").read_text().splitlines()) == 1
    assert Path("overlay.mp4").stat().st_size > 0
    capfd.readouterr()
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    out = capfd.readouterr().out
    assert re.match(r"(OK|NG) 0\.\d+", out)
    assert len(re.findall(r"good/00\d\.png (OK|NG)$", out, re.MULTILINE)) == 3
    assert Path("result.png").stat().st_size > 0


@pytest.mark.parametrize("line", LIVE)
def test_commands_for_cameras_are_understood(place, monkeypatch, capfd, line) -> None:
    if "/dev/video0" in line and Path("/dev/video0").exists():
        pytest.skip("there is a camera here")
    monkeypatch.chdir(place)
    assert edge(line.replace("rtsp://camera/", "rtsp://127.0.0.1:9/"), monkeypatch) in (1, 2)
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith("edge: ") and "--help" not in last


def test_the_table_of_commands_is_complete(monkeypatch, capfd) -> None:
    assert edge("edge --help", monkeypatch) == 0
    listed = re.findall(r"^  ([a-z]+)  ", capfd.readouterr().out, re.MULTILINE)
    table = README[README.index("## Commands") : README.index("## Engines")]
    assert set(listed) == set(re.findall(r"^\| `edge ([a-z]+)", table, re.MULTILINE))


def test_the_test_command_is_the_one_of_the_checks() -> None:
    ours = (ROOT / ".ci/run").read_text()
    tests = next(line for line in COMMANDS if "pytest" in line)
    assert "pip install -e '.[dev]'" in tests
    command = tests[tests.index("/bin/pytest") + len("/bin/") :]
    assert "-e '.[dev]'" in ours and f'\n{command} "$@"\n' in ours


def test_the_picture_is_small() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert 0 < (ROOT / picture).stat().st_size <= 300_000
