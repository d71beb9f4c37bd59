"""Training views for distilling a backbone: random crops, drawn textures, drawn defects.

A view is what the student and the teacher both see, so nothing here needs a label. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from backbone.parts import Image, draw_part

from calibrate.defects.textures import draw_square_texture

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def read_images(folder: Path, *, longest_px: int = 512) -> list[Image]:
    """Every image below a folder, in sorted order, RGB, at most `longest_px` on a side.

    Raises:
        ValueError: no image there, or one that cannot be decoded.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: no images; give a folder that holds some")
    return [_read(path, longest_px=longest_px) for path in paths]


def _read(path: Path, *, longest_px: int) -> Image:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: cannot be decoded; remove or replace it")
    scale = min(1.0, longest_px / max(image.shape[:2]))
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def view(images: Sequence[Image], *, size: int, rng: np.random.Generator) -> Image:
    """One random (size, size, 3) RGB view: 85 % from a photograph, 15 % from a drawn texture.

    A fifth of them become the surface of a drawn part.
    """
    if rng.random() < 0.15:
        picture = draw_square_texture(size, rng=rng)
    else:
        picture = _crop(images[int(rng.integers(len(images)))], size=size, rng=rng)
    if rng.random() < 0.2:
        picture = draw_part(picture, rng=rng)
    if rng.random() < 0.35:
        other = images[int(rng.integers(len(images)))]
        picture = _with_defect(picture, other=_crop(other, size=size, rng=rng), rng=rng)
    return _recorded(_lit(picture.astype(np.float32), rng=rng), rng=rng)


def _crop(image: Image, *, size: int, rng: np.random.Generator) -> Image:
    """A scaled, rotated, flipped window; the image is mirrored beyond its border."""
    height, width = image.shape[:2]
    scale = size / min(height, width) * float(np.exp(rng.uniform(-0.1, 1.1)))
    turn = rng.uniform(0, 360) if rng.random() < 0.5 else 90.0 * rng.integers(4)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    radians = np.deg2rad(turn)
    shape = scale * np.array(
        [[flip * np.cos(radians), -np.sin(radians)], [flip * np.sin(radians), np.cos(radians)]]
    )
    shape[:, rng.integers(2)] *= rng.uniform(0.8, 1.0)
    margin = min(0.5, 0.5 * size / scale / min(height, width))
    centre = rng.uniform(margin, 1 - margin, 2) * (width, height)
    matrix = np.column_stack([shape, size / 2 - shape @ centre])
    flags = cv2.INTER_LINEAR if rng.random() < 0.8 else cv2.INTER_AREA
    result = cv2.warpAffine(
        image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(result, dtype=np.uint8)


def _with_defect(picture: Image, *, other: Image, rng: np.random.Generator) -> Image:
    """A scratch, a spot or a patch of another picture, blended in with a soft edge."""
    size = picture.shape[0]
    mask = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 4)):
        centre = rng.integers(0, size, 2)
        kind = rng.integers(3)
        if kind == 0:
            walk = np.cumsum(rng.normal(0, 1, 2) * 4 + rng.normal(0, 3, (12, 2)), axis=0)
            points = (centre + walk).astype(np.int32)
            cv2.polylines(mask, [points], False, 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
        elif kind == 1:
            axes = (int(rng.integers(1, size // 8)), int(rng.integers(1, size // 8)))
            at = (int(centre[0]), int(centre[1]))
            cv2.ellipse(mask, at, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
        else:
            points = (centre + rng.normal(0, size / 12, (6, 2))).astype(np.int32)
            cv2.fillPoly(mask, [points], 1.0, cv2.LINE_AA)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.4, 2.0))))
    weight = (mask * rng.uniform(0.2, 1.0))[:, :, None]
    fill: npt.NDArray[np.floating] = other.astype(np.float32)
    if rng.random() < 0.6:
        fill = np.broadcast_to(rng.uniform(0, 255, 3), picture.shape)
        if rng.random() < 0.6:
            fill = np.broadcast_to(rng.uniform(0, 255), picture.shape)
    return np.asarray(picture * (1 - weight) + fill * weight, dtype=np.uint8)


def _lit(picture: npt.NDArray[np.float32], *, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Change grey, saturation, contrast, colour and the direction of the light."""
    if rng.random() < 0.5:
        grey = picture.mean(2, keepdims=True)
        keep = 0.0 if rng.random() < 0.5 else rng.uniform(0, 1.6)
        picture = grey + np.float32(keep) * (picture - grey)
    if rng.random() < 0.7:
        mean = np.float32(picture.mean())
        gain = np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.06, 3))
        picture = (picture - mean) * gain.astype(np.float32) + np.float32(
            np.clip(mean + rng.normal(0, 35), 10, 245)
        )
    if rng.random() < 0.4:
        corners = np.exp(rng.normal(0, 0.35, (2, 2))).astype(np.float32)
        size = (picture.shape[1], picture.shape[0])
        light = cv2.resize(corners, size, interpolation=cv2.INTER_LINEAR)
        picture = picture * light[:, :, None]
    if rng.random() < 0.05:
        picture = 255 - picture
    return picture


def _recorded(picture: npt.NDArray[np.float32], *, rng: np.random.Generator) -> Image:
    """Add what a lens, a sensor and a file do: blur, noise, compression."""
    if rng.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.8))))
    if rng.random() < 0.4:
        shape = picture.shape if rng.random() < 0.5 else (*picture.shape[:2], 1)
        picture = picture + rng.standard_normal(shape, np.float32) * np.float32(rng.uniform(1, 14))
    result = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
        done, data = cv2.imencode(".jpg", result, quality)
        if done:
            result = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return result
