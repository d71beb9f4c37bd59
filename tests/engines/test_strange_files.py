"""Pipes, sockets, devices and enormous files where a file is expected: told at once, never read."""

from __future__ import annotations

import os
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from calibrate.backbones.backbone import BackboneError, load_backbone
from calibrate.backbones.weights import read_weights
from calibrate.dataset import DatasetError, read_masks
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from cameras.push.address import token_from_file
from edge.config import ConfigError, read_config
from edge.plc.password import read_password
from edge.plc.station.snapshot import StationError
from engines.bundle import Bundle
from engines.cpu.openvino_cache import BlobKey, load_blob
from engines.errors import BundleError
from process.plain_files import open_plain_file, read_plain_file

HUGE = 100 << 30
MOST = 1 << 20


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    # By its name alone: the path of a socket has at most 107 bytes.
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


def _folder(path: Path) -> None:
    path.mkdir()


KINDS = {"pipe": _pipe, "socket": _socket, "device": _device, "sparse": _sparse, "folder": _folder}


@pytest.fixture(params=KINDS)
def strange(request) -> Callable[[Path], None]:
    """Puts something strange in a file's place."""

    def put(path: Path) -> None:
        path.unlink(missing_ok=True)
        KINDS[request.param](path)

    return put


@pytest.mark.parametrize("follow_links", [True, False])
def test_only_a_plain_file_of_a_sane_size_is_read(tmp_path, strange, follow_links) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MOST)
    assert read_plain_file(path, max_bytes=MOST, follow_links=follow_links) == b"x" * MOST
    with pytest.raises(OSError, match="more than the 1048575 that it may have"):
        read_plain_file(path, max_bytes=MOST - 1)
    strange(path)
    with pytest.raises(OSError, match=r"it is|it has|directory") as caught:
        read_plain_file(path, max_bytes=MOST, follow_links=follow_links)
    assert "\n" not in str(caught.value.strerror)


def test_a_file_that_grows_while_it_is_read_is_not_read_on(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with open_plain_file(path, max_bytes=1) as file:
        path.write_bytes(b"y" * 100)
        assert len(file.read(2)) == 2  # what `read_plain_file` asks for, and refuses
    link = tmp_path / "link"
    link.symlink_to(path)
    assert len(read_plain_file(link, max_bytes=100)) == 100
    with pytest.raises(OSError, match="symbolic link"):
        read_plain_file(link, max_bytes=100, follow_links=False)


KEY = BlobKey(openvino="1", cpu="x", onnx_sha256="0" * 64, precision="fp32", config={}, recipe=1)
READERS: dict[str, tuple[Callable[[Path], object], type[Exception] | None]] = {
    "edge.toml": (read_config, ConfigError),
    "token": (token_from_file, ValueError),
    "password": (lambda path: read_password(path, bridge="mqtt", user="u"), StationError),
    "mask.png": (lambda path: read_masks([path], image_size=(8, 8), size=(8, 8)), DatasetError),
    "ignore.png": (image_from_file, ImageError),
    "backbone.onnx": (load_backbone, BackboneError),
    "weights.pth": (read_weights, BackboneError),
    "openvino-latency.blob": (lambda path: load_blob(path.parent, KEY, mode="latency"), None),
    "openvino-latency.json": (lambda path: load_blob(path.parent, KEY, mode="latency"), None),
}


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_read_is_a_plain_file(tmp_path, strange, name) -> None:
    read, error = READERS[name]
    strange(tmp_path / name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if error is None:
        assert read(tmp_path / name) is None
    else:
        with pytest.raises(error) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "golden/good.png"])
def test_nothing_strange_in_a_bundle_is_read(bundle, strange, name) -> None:
    strange(bundle.path / name)
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle.path)
    assert name in str(caught.value) and "\n" not in str(caught.value)
    if name in bundle.manifest.files:
        with pytest.raises(BundleError):
            bundle.read(name)


def test_leftovers_that_are_no_folders_hold_up_no_writer(bundle, contents) -> None:
    from bundle_files import leftovers, manifest

    from engines.bundle import write_bundle

    os.mkfifo(bundle.path.parent / f".{bundle.path.name}.new-0123")
    os.mkfifo(bundle.path.parent / f".{bundle.path.name}.old-0123")
    writer = threading.Thread(
        target=write_bundle,
        args=[bundle.path],
        kwargs={"manifest": manifest(seed=1), "files": contents},
        daemon=True,
    )
    writer.start()
    writer.join(10)
    assert not writer.is_alive()
    assert Bundle.open(bundle.path).manifest.seed == 1
    assert leftovers(bundle.path.parent) == []
