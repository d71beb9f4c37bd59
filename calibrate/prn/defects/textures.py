"""What fills simulated anomalies: a folder's textures, the image itself, or drawn ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.backbones.views import drawn_texture
from calibrate.dataset import DatasetError
from calibrate.images import Image, Size, evenly
from cameras.image_files import IMAGE_SUFFIXES, image_from_file
from cameras.redaction import shown, sort_key

Table = npt.NDArray[np.float32]  # (256, 3): what each level of each channel becomes, 0 to 1

MOST_TEXTURES = 300
GRID = 8  # cells along each axis of a shuffled image
_CHANGES = 3  # of the table below, each time


def textures_from_folder(
    folder: Path, *, size: Size, most: int = MOST_TEXTURES
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
        raise DatasetError(f"{shown(folder)}: {what}; give a folder of texture images")
    found: list[Path] = []
    for home, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(home, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    if not found:
        raise DatasetError(f"{shown(folder)}: no images; give a folder of texture images")
    return sorted(found, key=sort_key)


def _refuse(error: OSError) -> None:
    where = shown(error.filename) if error.filename else "the folder of textures"
    raise DatasetError(f"{where}: {error.strerror}; check its permissions") from error


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
    return recoloured(np.asarray(window, dtype=np.uint8), rng=rng)


def shuffled(image: Image, *, rng: np.random.Generator) -> Image:
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
    return recoloured(result, rng=rng) if rng.random() < 0.5 else result


def drawn(size: Size, *, rng: np.random.Generator) -> Image:
    """A texture that no photograph shows, (H, W, 3) uint8."""
    return np.ascontiguousarray(drawn_texture(max(size), rng=rng)[: size[0], : size[1]])


def recoloured(image: Image, *, rng: np.random.Generator) -> Image:
    """Three of the changes of colour below, one after the other, in one pass over the image."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)
    table: Table = np.repeat(levels[:, None], 3, axis=1)
    for index in rng.choice(len(_RECOLOUR), _CHANGES, replace=False):
        table = np.clip(_RECOLOUR[index](table, rng), 0, 1)
    return toned(image, table)


def toned(image: Image, table: Table) -> Image:
    """Map every level of every channel by a table."""
    levels = np.rint(table * 255).astype(np.uint8)[None]
    return np.asarray(cv2.LUT(image, levels), dtype=np.uint8)


def gamma(table: Table, rng: np.random.Generator) -> Table:
    """Lighter or darker in between, black and white kept."""
    return table ** np.float32(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))


def brightness(table: Table, rng: np.random.Generator) -> Table:
    """More or less light, and an offset."""
    return table * np.float32(rng.uniform(0.6, 1.4)) + np.float32(rng.uniform(-0.1, 0.1))


def contrast(table: Table, rng: np.random.Generator) -> Table:
    """Flatter or steeper about the middle."""
    return (table - np.float32(0.5)) * np.float32(rng.uniform(0.4, 1.6)) + np.float32(0.5)


def cast(table: Table, rng: np.random.Generator) -> Table:
    """A tint: each channel its own factor."""
    return table * rng.uniform(0.6, 1.4, 3).astype(np.float32)


def _inverted(table: Table, rng: np.random.Generator) -> Table:
    """The negative of some of the channels, mostly of all."""
    turned = rng.random(3) < 0.8
    return np.where(turned, 1 - table, table)


def _solarised(table: Table, rng: np.random.Generator) -> Table:
    """The negative of all that is brighter than a level."""
    return np.where(table > np.float32(rng.uniform(0.25, 0.9)), 1 - table, table)


def _posterised(table: Table, rng: np.random.Generator) -> Table:
    """A few levels only."""
    steps = np.float32(rng.integers(3, 9))
    return np.asarray(np.round(table * steps) / steps, dtype=np.float32)


Change = Callable[[Table, np.random.Generator], Table]
_RECOLOUR: tuple[Change, ...] = (
    gamma,
    brightness,
    contrast,
    cast,
    _inverted,
    _solarised,
    _posterised,
)
