"""What fills simulated anomalies: a folder's textures, the image itself, or drawn ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.dataset import DatasetError, images_in
from calibrate.images import Image, Size, evenly
from cameras.image_files import image_from_file
from cameras.redaction import printable_path, sort_key

ToneCurve = npt.NDArray[np.float32]  # (256, 3): what each level of each channel becomes, 0 to 1

MAX_TEXTURES = 300
GRID = 8  # cells along each axis of a shuffled image
_CHANGES = 3  # of the table below, each time


def textures_from_folder(
    folder: Path, *, size: Size, most: int = MAX_TEXTURES
) -> tuple[Image, ...]:
    """Read textures, at most `most`, evenly spread over the folder and its sub-folders.

    Args:
        folder: searched in depth, hidden files and folders passed over.
        size: (height, width) in px of the images that will be changed; a texture is kept half as
            large again, so that a window of it can be taken: 442 kB each for 256 px.
        most: to hold in memory.

    Raises:
        DatasetError: the folder is missing, is a file, cannot be read or holds no images.
        ImageError: one of its images cannot be read.
    """
    return tuple(_texture(path, size=size) for path in evenly(_paths(folder), most))


def _paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise DatasetError(f"{printable_path(folder)}: {what}; give a folder of texture images")
    try:
        found = images_in(folder, deep=True)
    except OSError as error:
        where = printable_path(error.filename) if error.filename else printable_path(folder)
        raise DatasetError(f"{where}: {error.strerror}; check its permissions") from error
    if not found:
        raise DatasetError(f"{printable_path(folder)}: no images; give a folder of texture images")
    return sorted(found, key=sort_key)


def _texture(path: Path, *, size: Size) -> Image:
    image = image_from_file(path)
    # The larger of the two ratios: the texture covers the size, and keeps its proportions.
    scale = 1.5 * max(size[0] / image.shape[0], size[1] / image.shape[1])
    target = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, target, interpolation=flags), dtype=np.uint8)
    rows, columns = round(1.5 * size[0]), round(1.5 * size[1])
    return np.ascontiguousarray(resized[:rows, :columns])


def window_of(texture: Image, size: Size, *, rng: np.random.Generator) -> Image:
    """A turned, scaled, mirrored and recoloured window of a texture, (H, W, 3) uint8 BGR."""
    turn = np.deg2rad(float(rng.uniform(0, 360)))
    scale = float(np.exp(rng.uniform(np.log(0.7), np.log(1.6))))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    shape = scale * np.array(
        [[mirror * np.cos(turn), -np.sin(turn)], [mirror * np.sin(turn), np.cos(turn)]]
    )
    centre = rng.uniform(0.25, 0.75, 2) * (texture.shape[1], texture.shape[0])
    middle = np.array([size[1] / 2, size[0] / 2])
    matrix = np.column_stack([shape, middle - shape @ centre])
    window = cv2.warpAffine(
        texture, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return recolour(np.asarray(window, dtype=np.uint8), rng=rng)


def shuffle_cells(image: Image, *, rng: np.random.Generator) -> Image:
    """The image itself in `GRID` x `GRID` cells, in another order, half the time recoloured.

    Source: MemSeg (arXiv 2205.00908) and DiffusionAD (arXiv 2303.08730) for parts.
    """
    rows, columns = (-(-length // GRID) for length in image.shape[:2])
    whole = cv2.resize(image, (columns * GRID, rows * GRID), interpolation=cv2.INTER_LINEAR)
    cells = np.asarray(whole, dtype=np.uint8).reshape(GRID, rows, GRID, columns, 3).swapaxes(1, 2)
    mixed = rng.permutation(cells.reshape(GRID * GRID, rows, columns, 3))
    picture = mixed.reshape(GRID, GRID, rows, columns, 3).swapaxes(1, 2)
    result = np.ascontiguousarray(
        picture.reshape(rows * GRID, columns * GRID, 3)[: image.shape[0], : image.shape[1]]
    )
    return recolour(result, rng=rng) if rng.random() < 0.5 else result


def draw_texture(size: Size, *, rng: np.random.Generator) -> Image:
    """A texture that no photograph shows, (H, W, 3) uint8."""
    return np.ascontiguousarray(draw_square_texture(max(size), rng=rng)[: size[0], : size[1]])


def draw_square_texture(size: int, *, rng: np.random.Generator) -> Image:
    """Gratings, noise of several scales, grids and shapes: (size, size, 3) uint8."""
    field = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 5)):
        field += rng.uniform(0.2, 1.0) * _draw_component(size, rng=rng)
    low, high = float(field.min()), float(field.max())
    field = (field - low) / max(high - low, 1e-6)
    ends = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:
        ends = ends.mean(1, keepdims=True) + rng.normal(0, 8, (2, 3))
    picture = ends[0] + field[:, :, None] * (ends[1] - ends[0])
    result: Image = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        for _ in range(rng.integers(1, 12)):
            _draw_shape(result, rng=rng)
    return result


def _draw_component(size: int, *, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """One (size, size) float32 component of a drawn texture, about -1 to 1."""
    kind = rng.integers(4)
    if kind == 0:
        return _draw_grating(size, rng=rng)
    if kind == 1:
        cells = (int(rng.integers(2, size)), int(rng.integers(2, size)))
        noise = rng.normal(0, 0.5, cells).astype(np.float32)
        return np.asarray(cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC))
    if kind == 2:
        return _draw_grating(size, rng=rng) * _draw_grating(size, rng=rng)
    stripes = np.zeros((size, size), np.float32)
    step = int(rng.integers(4, size // 2))
    stripes[::step, :] = 1
    stripes[:, :: max(2, int(step * rng.uniform(0.5, 2)))] = 1
    return np.asarray(cv2.GaussianBlur(stripes, (0, 0), float(rng.uniform(0.4, 2.0))))


def _draw_grating(size: int, *, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(size)))
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    phase = (np.cos(angle) * xs + np.sin(angle) * ys) / period * 2 * np.pi + rng.uniform(0, 6.3)
    wave = np.sin(phase)
    return np.asarray(np.sign(wave) if rng.random() < 0.3 else wave, dtype=np.float32)


def _draw_shape(picture: Image, *, rng: np.random.Generator) -> None:
    """Draw one ellipse, line or polygon into the picture."""
    size = picture.shape[0]
    colour = rng.uniform(0, 255, 3).tolist()
    thickness = -1 if rng.random() < 0.5 else int(rng.integers(1, 8))
    points = rng.integers(0, size, (int(rng.integers(3, 7)), 2))
    start = (int(points[0, 0]), int(points[0, 1]))
    kind = rng.integers(3)
    if kind == 0:
        axes = (int(rng.integers(2, size // 2)), int(rng.integers(2, size // 2)))
        turn = float(rng.uniform(0, 180))
        cv2.ellipse(picture, start, axes, turn, 0, 360, colour, thickness, cv2.LINE_AA)
    elif kind == 1:
        end = (int(points[1, 0]), int(points[1, 1]))
        cv2.line(picture, start, end, colour, abs(thickness), cv2.LINE_AA)
    elif thickness < 0:
        cv2.fillPoly(picture, [points.astype(np.int32)], colour, cv2.LINE_AA)
    else:
        cv2.polylines(picture, [points.astype(np.int32)], True, colour, thickness, cv2.LINE_AA)


def recolour(image: Image, *, rng: np.random.Generator) -> Image:
    """Three of the changes of colour below, one after the other, in one pass over the image."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    table: ToneCurve = np.repeat(levels[:, None], 3, axis=1)
    for index in rng.choice(len(_RECOLOUR), _CHANGES, replace=False):
        table = np.clip(_RECOLOUR[index](table, rng), 0, 1)
    return apply_tone(image, table)


def apply_tone(image: Image, table: ToneCurve) -> Image:
    """Map every level of every channel by a table."""
    levels = np.rint(table * 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(image, levels), dtype=np.uint8)


def gamma(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """Lighter or darker in between, black and white kept."""
    return table ** np.float32(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))


def brightness(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """More or less light, and an offset."""
    return table * np.float32(rng.uniform(0.6, 1.4)) + np.float32(rng.uniform(-0.1, 0.1))


def contrast(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """Flatter or steeper about the middle."""
    return (table - np.float32(0.5)) * np.float32(rng.uniform(0.4, 1.6)) + np.float32(0.5)


def cast(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """A tint: each channel its own factor."""
    return table * rng.uniform(0.6, 1.4, 3).astype(np.float32)


def _invert(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """The negative of some of the channels, mostly of all."""
    turned = rng.random(3) < 0.8
    return np.where(turned, 1 - table, table)


def _solarise(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """The negative of all that is brighter than a level."""
    return np.where(table > np.float32(rng.uniform(0.25, 0.9)), 1 - table, table)


def _posterise(table: ToneCurve, rng: np.random.Generator) -> ToneCurve:
    """A few levels only."""
    steps = np.float32(rng.integers(3, 9))
    return np.asarray(np.round(table * steps) / steps, dtype=np.float32)


ToneChange = Callable[[ToneCurve, np.random.Generator], ToneCurve]
_RECOLOUR: tuple[ToneChange, ...] = (
    gamma,
    brightness,
    contrast,
    cast,
    _invert,
    _solarise,
    _posterise,
)
