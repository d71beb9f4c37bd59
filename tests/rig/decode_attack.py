"""Damages pictures in many ways and decodes them: run as a program, it prints what came of it."""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from odd_pictures import odd_pictures
from PIL import Image
from tiff_tags import read_by_tifffile

import cameras.decoding.limits
from cameras.errors import ImageError
from cameras.image_files import image_from_bytes

LARGEST = 4_000_000  # px: a header that asks for more is refused, so that many are tried
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """The same with bytes changed, left out, doubled, cut off, or numbers made extreme."""
    out = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        near = min(len(out), 200) if random.random() < 0.5 else len(out)
        place = int(random.integers(max(1, near)))
        length = int(random.integers(1, 40))
        way = int(random.integers(6))
        if way < 2:
            out[place : place + 1] = bytes([int(random.integers(256))])
        elif way == 2:
            extreme = EXTREMES[int(random.integers(len(EXTREMES)))]
            order = "<I" if random.random() < 0.5 else ">I"
            out[place : place + 4] = struct.pack(order, extreme)
        elif way == 3:
            del out[place : place + length]
        elif way == 4:
            out[place:place] = out[place : place + length]
        else:
            del out[max(20, place) :]
    return bytes(out)


def refuses(data: bytes) -> bool:
    """Whether Pillow, and tifffile where it can, take it for no picture, or a damaged one."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
    except Exception:  # noqa: BLE001 - whatever another reader stumbles over
        return not (data[:2] in (b"II", b"MM") and is_read_by_tifffile(data))
    return False


def is_read_by_tifffile(data: bytes) -> bool:
    """Whether it reads the pixels; Pillow does not know every variant, nor odd tags beside them."""
    try:
        read_by_tifffile(data)
    except Exception:  # noqa: BLE001 - whatever another reader stumbles over
        return False
    return True


def attack(count: int, seed: int) -> dict[str, object]:
    """What became of so many damaged pictures."""
    random = np.random.default_rng(seed)
    whole = [one for one in odd_pictures() if one.shows is not None]
    before = [image_from_bytes(one.data) for one in whole]
    found: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(count):
        index = int(random.integers(len(whole)))
        data = damage(whole[index].data, random)
        try:
            image = image_from_bytes(data)
        except ImageError as error:
            assert "\n" not in str(error)
            found["refused"] += 1
            continue
        is_same = image.shape == before[index].shape and bool((image == before[index]).all())
        found["same" if is_same else "other"] += 1
        if not is_same and refuses(data):
            wrong[whole[index].name] += 1
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
    return {**found, "wrong": wrong, "peak": peak}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    cameras.decoding.limits.MAX_PIXELS = LARGEST
    print(json.dumps(attack(int(sys.argv[1]), int(sys.argv[2]))))
