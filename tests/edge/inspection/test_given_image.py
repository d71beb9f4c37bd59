"""What a program gives as an image gets the score of its file, or is refused with a way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

from edge.inspection.given_image import frame_from_image
from edge.inspection.inspector import Inspector, load
from edge.result import Verdict
from engines.bundle import Bundle, write_bundle

ENGINE = "onnxruntime"


@pytest.fixture(scope="module")
def inspector(built: Path) -> Iterator[Inspector]:
    with load(built, engine=ENGINE) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def inspector_of_12_bits(built: Path, tmp_path_factory) -> Iterator[Inspector]:
    bundle = Bundle.open(built)
    manifest = bundle.manifest.model_copy(update={"bit_depth": 12})
    path = tmp_path_factory.mktemp("bits") / "twelve.edge"
    write_bundle(path, manifest=manifest, files={n: bundle.read(n) for n in manifest.files})
    with load(path, engine=ENGINE) as loaded:
        yield loaded


@pytest.fixture
def part(spoilt_image) -> np.ndarray:
    """A part whose channels differ, (96, 128, 3) uint8 BGR, not of the model's size."""
    tinted = spoilt_image[:96].copy()
    tinted[..., 0] = tinted[..., 0] // 2
    return tinted


def grey(part: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)


def with_alpha(part: np.ndarray) -> np.ndarray:
    alpha = np.indices(part.shape[:2]).sum(axis=0).astype(np.uint8)
    return np.dstack([part, alpha])


def wide(part: np.ndarray, bits: int = 16) -> np.ndarray:
    """16 bits, whose lowest ones are of use to nobody."""
    return (part.astype(np.uint16) << (bits - 8)) + 3


def shifted(part: np.ndarray) -> np.ndarray:
    """The same pixels in memory that begins at an odd address."""
    room = np.zeros(part.nbytes + 1, np.uint8)
    view = room[1:].reshape(part.shape)
    view[:] = part
    return view


def frozen(part: np.ndarray) -> np.ndarray:
    copy = part.copy()
    copy.setflags(write=False)
    return copy


class Subclass(np.ndarray):
    """As OpenCV and others have one."""


# What is given, and what of it is saved as a PNG.
GIVEN: dict[str, Callable[[np.ndarray], tuple[Any, np.ndarray]]] = {
    "BGR": lambda part: (part, part),
    "grey": lambda part: (grey(part), grey(part)),
    "grey with an axis": lambda part: (grey(part)[..., None], grey(part)),
    "BGRA": lambda part: (with_alpha(part), with_alpha(part)),
    "16 bits": lambda part: (wide(part), wide(part)),
    "16 bits, grey": lambda part: (wide(grey(part)), wide(grey(part))),
    "16 bits, BGRA": lambda part: (wide(with_alpha(part)), wide(with_alpha(part))),
    "big-endian": lambda part: (wide(part).astype(">u2"), wide(part)),
    "mirrored": lambda part: (part[:, ::-1], part[:, ::-1]),
    "every second column": lambda part: (np.repeat(part, 2, axis=1)[:, ::2], part),
    "Fortran's order": lambda part: (np.asfortranarray(part), part),
    "channels first, turned": lambda part: (
        part.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        part,
    ),
    "a grey view": lambda part: (part[..., 1], part[..., 1]),
    "one value for all channels": lambda part: (
        np.broadcast_to(grey(part)[..., None], part.shape),
        grey(part),
    ),
    "read-only": lambda part: (frozen(part), part),
    "at an odd address": lambda part: (shifted(part), part),
    "a subclass": lambda part: (grey(part).view(Subclass), grey(part)),
    "PIL RGB": lambda part: (PIL.Image.fromarray(part[..., ::-1]), part),
    "PIL L": lambda part: (PIL.Image.fromarray(grey(part)), grey(part)),
    "PIL RGBA": lambda part: (
        PIL.Image.fromarray(with_alpha(part)[..., [2, 1, 0, 3]]),
        with_alpha(part),
    ),
    "PIL LA": lambda part: (
        PIL.Image.merge("LA", [PIL.Image.fromarray(one) for one in (grey(part), part[..., 0])]),
        grey(part),
    ),
    "PIL I;16": lambda part: (PIL.Image.fromarray(wide(grey(part))), wide(grey(part))),
    "PIL 1": lambda part: (
        PIL.Image.fromarray(grey(part) > 90),
        np.where(grey(part) > 90, 255, 0).astype(np.uint8),
    ),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_what_is_given_is_what_its_file_would_be(given, inspector, part, tmp_path) -> None:
    image, saved = given(part)
    path = tmp_path / "part.png"
    assert cv2.imwrite(str(path), saved)
    (from_file,) = inspector.stream(path)
    result = inspector.inspect(image)
    captured = {"source": result.source, "captured_at_ns": result.captured_at_ns}
    assert result == replace(from_file, **captured)
    np.testing.assert_array_equal(result.image, from_file.image)
    assert inspector.inspect(str(path)).score == from_file.score
    assert inspector.inspect(path.read_bytes()).score == from_file.score


def test_the_command_says_the_same(inspector, built, part, tmp_path, run) -> None:
    cv2.imwrite("part.png", wide(part))
    done = run(
        "stream", "part.png", "--bundle", built, "--engine", ENGINE, "--results", "out.jsonl"
    )
    assert done.code == 0
    score = json.loads(Path("out.jsonl").read_text())["score"]
    assert score == inspector.inspect(wide(part)).score


def test_palettes_are_colours_and_their_alpha_is_dropped(inspector, part, tmp_path) -> None:
    palette = PIL.Image.fromarray(part[..., ::-1]).quantize(64)
    palette.info["transparency"] = bytes(range(64))
    palette.save(tmp_path / "palette.png")
    opened = PIL.Image.open(tmp_path / "palette.png")
    assert (opened.mode, type(opened.info["transparency"])) == ("P", bytes)
    with opened:
        given = inspector.inspect(opened)
    np.testing.assert_array_equal(given.image, inspector.inspect(tmp_path / "palette.png").image)


def test_an_opened_image_lies_as_its_exif_says_and_a_derived_one_is_refused(
    inspector, part, tmp_path
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(part[..., ::-1]).save(tmp_path / "held.jpg", exif=exif, quality=95)
    from_file = inspector.inspect(tmp_path / "held.jpg")
    with PIL.Image.open(tmp_path / "held.jpg") as opened:
        assert inspector.inspect(opened).image.shape == from_file.image.shape == (128, 96, 3)
        derived = opened.resize((64, 48))
    with pytest.raises(ValueError, match="exif_transpose right after"):
        inspector.inspect(derived)


def test_16_bits_are_those_of_the_bundle(inspector_of_12_bits, part, tmp_path) -> None:
    camera = wide(part, bits=12)
    cv2.imwrite(str(tmp_path / "camera.png"), camera)
    given, from_file = (inspector_of_12_bits.inspect(i) for i in (camera, tmp_path / "camera.png"))
    np.testing.assert_array_equal(given.image, part)
    assert given.score == from_file.score
    beyond = inspector_of_12_bits.inspect(camera + np.uint16(4096))
    assert beyond.verdict is Verdict.ERROR
    assert "beyond the 4095 of a bit depth of 12" in beyond.reason


def test_a_tensor_in_the_hosts_memory_is_an_array(inspector, part) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert inspector.inspect(torch.from_numpy(part)).score == inspector.inspect(part).score
    for wrong, error, way in (
        (torch.from_numpy(part).permute(2, 0, 1), ValueError, r"transpose\(1, 2, 0\), as BGR"),
        (torch.from_numpy(part) / 255, TypeError, "whether white is 1 or 255"),
        (torch.zeros((64, 64, 3), dtype=torch.bfloat16), TypeError, "no array in the host's"),
        (torch.zeros((64, 64, 3), device="meta"), TypeError, "no array in the host's memory"),
    ):
        with pytest.raises(error, match=way):
            inspector.inspect(wrong)


FLAT = np.zeros((64, 48, 3), np.uint8)
REFUSED: list[tuple[object, type[Exception], str]] = [
    (FLAT.astype(np.float32), TypeError, r"whether white is 1 or 255; give \(image \* 255\)"),
    (FLAT.astype(np.float16), TypeError, "whether white is 1 or 255"),
    (FLAT.astype(bool), TypeError, r"\(image \* 255\).astype\(np.uint8\), if True is white"),
    (FLAT.astype(np.int64), TypeError, r"image.astype\(np.uint8\) if all values are 0 to 255"),
    (FLAT.astype(np.uint32), TypeError, "16 bits of a camera"),
    (FLAT.astype(object), TypeError, "cv2.imread returns it"),
    (FLAT.astype(complex), TypeError, "cv2.imread returns it"),
    (np.ma.masked_array(FLAT, mask=FLAT == 0), TypeError, r"image.filled\(0\)"),
    (FLAT.transpose(2, 0, 1), ValueError, r"image.transpose\(1, 2, 0\), as BGR and not RGB"),
    (FLAT[..., 0][None], ValueError, r"image.transpose\(1, 2, 0\)"),
    (FLAT[..., :2], ValueError, r"give \(height, width, 3\) BGR"),
    (FLAT[0, 0], ValueError, r"shape \(3,\)"),
    (FLAT[None], ValueError, "several images are given to inspect_batch"),
    (FLAT[:0], ValueError, r"shape \(0, 48, 3\)"),
    ([[1, 2, 3]], TypeError, r"give np.asarray\(image, np.uint8\)"),
    (np.uint8(3), TypeError, "is no image"),
    (0, TypeError, "a camera's number is a source"),
    (bytearray(b"x"), TypeError, r"give bytes\(image\)"),
    (memoryview(b"x"), TypeError, r"give bytes\(image\)"),
    (cv2.UMat(FLAT), TypeError, r"give image.get\(\)"),
    (SimpleNamespace(image=FLAT), TypeError, "types.SimpleNamespace is no image"),
    ("rtsp://me:secret@line3/cam", ValueError, r"rtsp://\*\*\*@line3/cam: an address is a source"),
    (PIL.Image.new("F", (64, 48)), TypeError, "mode F: nobody says what its values mean"),
    (PIL.Image.new("I", (64, 48)), TypeError, "mode I"),
    (PIL.Image.new("CMYK", (64, 48)), TypeError, r"image.convert\('RGB'\)"),
]


@pytest.mark.parametrize(("image", "error", "way"), REFUSED)
def test_what_could_mean_two_things_is_refused_with_a_way_out(image, error, way) -> None:
    with pytest.raises(error, match=way) as refused:
        frame_from_image(image)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


def test_what_cannot_be_read_is_an_error_of_its_part(inspector, tmp_path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for image, why in (
        (None, "cv2.imread returns None for what it cannot read"),
        (cv2.imread(str(tmp_path / "missing.png")), "check the path"),
        (tmp_path / "missing.png", "missing.png: No such file"),
        (str(tmp_path / "cut.png"), "cut.png: "),
        (tmp_path, "Is a directory"),
        (b"", "not an image that can be read"),
        (b"GIF89a", "GIF"),
    ):
        result = inspector.inspect(image)
        assert (result.verdict, result.score) == (Verdict.ERROR, None)
        assert why in result.reason


def test_an_image_that_pil_cannot_read_to_its_end_is_an_error(inspector, part, tmp_path) -> None:
    PIL.Image.fromarray(part).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with PIL.Image.open(tmp_path / "half.png") as half:
        result = inspector.inspect(half)
    assert result.verdict is Verdict.ERROR
    assert "the PIL image cannot be read" in result.reason


def test_one_image_is_not_several(inspector, part) -> None:
    for several in (inspector.inspect_batch, inspector.stream):
        for one in (part, grey(part), b"x", PIL.Image.fromarray(part), None):
            with pytest.raises(TypeError, match="is one image, not several; use inspect for it"):
                several(one)
    with pytest.raises(TypeError, match="str is one image"):
        inspector.inspect_batch("folder")
