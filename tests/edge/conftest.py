"""The command as a user meets it, a drawn data set, and a bundle built from it."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from made_once import made_once

NOBODY = 65534
SMALL = ("--precision", "fp32", "--size", "64", "--prototypes", "64", "--engine", "onnxruntime")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line that says what went wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("edge: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err and "internal error" not in self.err, self.err
        assert self.out == ""
        return lines[0]


Run = Callable[..., Outcome]

RESNET18 = "weights/resnet18_imagenet1k_v1_to_layer3.safetensors"


@pytest.fixture
def run(tmp_path, monkeypatch, capfd) -> Run:
    """Run `edge` in this process, in an empty folder of its own; capture what even C prints."""
    from edge.cli.main import main

    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "EDGE_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def runner(*words: object) -> Outcome:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["edge", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    return runner


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A small drawn data set in MVTec's layout; do not change it, copy it."""
    from edge.demo import draw_dataset

    def draw(folder: Path) -> None:
        draw_dataset(folder, good=12, test_good=4, defects_each=1, size=128)

    return made_once(tmp_path_factory, "flange", draw)


@pytest.fixture(scope="session")
def built(drawn, tmp_path_factory) -> Path:
    """A bundle built from `drawn`; do not change it, copy it."""
    from edge.building.build import build
    from edge.options import BuildOptions

    options = BuildOptions(precision="fp32", size=(128, 128), prototypes=64, engine="onnxruntime")
    return made_once(
        tmp_path_factory, "flange.edge", lambda output: build(drawn, output, options=options)
    )


@pytest.fixture
def bundle(built, tmp_path) -> Path:
    """A copy of `built` that may be changed."""
    return Path(shutil.copytree(built, tmp_path / "copy.edge"))


@pytest.fixture
def good(drawn, tmp_path) -> Path:
    """A copy of the twelve good images that may be changed."""
    return Path(shutil.copytree(drawn / "train" / "good", tmp_path / "good"))


@pytest.fixture
def light_builds(monkeypatch) -> None:
    """Builds take half of their time: for tests that need one, and are not about it."""
    from plain_builds import leave_out

    leave_out(monkeypatch, compared=False)


@pytest.fixture
def small() -> tuple[str, ...]:
    """BuildOptions with which a build takes a second."""
    return SMALL


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, str]]:
    """Every file below a folder with the hash of its content."""

    def take(folder: Path) -> dict[str, str]:
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    return take


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder into which this process cannot write, root or not."""
    import edge.building.build
    import edge.sinks.video  # noqa: F401  # while modules can still be read

    folder = Path(tempfile.mkdtemp(prefix="edge-read-only-"))
    folder.chmod(0o555)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(before)
        folder.chmod(0o755)
        shutil.rmtree(folder)


@pytest.fixture
def little_disk() -> Callable[[int], object]:
    """A block in which no file can grow beyond so many bytes, as on a full disk."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def disk_of(tmp_path) -> Iterator[Callable[..., Path]]:
    """Makes a file system of so many MiB."""
    folder = tmp_path / "disk"

    def mounted(*, mib: int) -> Path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None or os.geteuid() != 0:
            pytest.skip("only root can make a small disk")
        folder.mkdir()
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            pytest.skip("no file system can be mounted here")
        return folder

    yield mounted
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> np.ndarray:
    """A drawn part, (H, W, 3) uint8 BGR, before which a `Sensor` stands; do not change it."""
    import cv2
    from still_scene import HEIGHT, WIDTH

    from edge.demo import draw_dataset

    folder = tmp_path_factory.mktemp("scene")
    draw_dataset(folder, good=1, test_good=1, defects_each=1, size=256)
    picture = cv2.imread(str(next((folder / "train" / "good").iterdir())))
    return cv2.resize(picture, (WIDTH, HEIGHT))


@pytest.fixture(scope="session")
def good_image(drawn) -> np.ndarray:
    """The first good image, (H, W, 3) uint8 BGR; do not change it, copy it."""
    import cv2

    return cv2.imread(str(min((drawn / "train" / "good").iterdir())))


@pytest.fixture
def spoilt_image(good_image: np.ndarray) -> np.ndarray:
    """A chequered square, 32 px wide, in the middle of a good part."""
    image = good_image.copy()
    rows, columns = np.indices((32, 32)) // 8
    image[48:80, 48:80] = np.where((rows + columns) % 2, 255, 0)[..., None]
    return image


@pytest.fixture(scope="session")
def resnet18(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The exported ImageNet ResNet-18 that the bundled backbone stands in for."""
    pytest.importorskip("openvino", reason="the engine that CPUs deploy is not installed")
    from calibrate.backbones.export import export_backbone

    output = tmp_path_factory.mktemp("backbone") / "resnet18.onnx"
    return str(export_backbone("resnet18", weights=realdata / RESNET18, output=output))
