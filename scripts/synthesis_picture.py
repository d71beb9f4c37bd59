"""Draw docs/prn_synthesis.jpg: how anomalies are made, on the drawn parts of `edge demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibrate.defects.foreground import foreground_from_image
from calibrate.defects.perlin import LEVEL, anomaly_noise
from calibrate.defects.real import RealDefect
from calibrate.defects.synthesis import Synthesis
from calibrate.defects.textures import draw_texture
from edge.demo import draw_part

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Cell = tuple[Picture, str]

OUTPUT = Path("docs/prn_synthesis.jpg")
SIZE, CELL, CAPTION, GAP = 256, 176, 22, 8  # px
COLUMNS = 6
QUALITY = 84
OUTLINE = (60, 60, 235)  # BGR
INK, PAPER = (70, 60, 54), 255
STEPS_SEED = 23
SIMULATED = (3, 7, 8, 14, 16, 18)
EXTENDED = (0, 2, 3, 5, 6)


def main() -> None:
    """Three rows: the steps, simulated anomalies, a real defect and what is made of it."""
    part, _ = draw_part(np.random.default_rng(1), size=SIZE)
    seen, mask = draw_part(np.random.default_rng(5), size=SIZE, defect="chip")
    chip = RealDefect(Path("chip.png"), "chip", "", seen, mask > 0)
    synthesis = Synthesis(defects=(chip,), scene="object")
    made = [synthesis.simulate(part, np.random.default_rng(seed)) for seed in SIMULATED]
    more = [synthesis.extend(part, np.random.default_rng(seed)) for seed in EXTENDED]
    rows = [
        _steps(part),
        [(outlined(image, marked), "simulated") for image, marked in made],
        [(outlined(seen, chip.mask), "real defect")]
        + [(outlined(image, marked), "extended") for image, marked in more],
    ]
    picture = np.vstack([_row(cells) for cells in rows])
    cv2.imwrite(str(OUTPUT), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _steps(part: Picture) -> list[Cell]:
    rng = np.random.default_rng(STEPS_SEED)
    noise = anomaly_noise((SIZE, SIZE), rng=rng)
    texture = draw_texture((SIZE, SIZE), rng=rng)
    foreground = foreground_from_image(part)
    mask = (noise > LEVEL) & foreground
    blended = cv2.addWeighted(texture, 0.6, part, 0.4, 0)
    result = np.where(mask[:, :, None], blended, part).astype(np.uint8)
    return [
        (part, "good part"),
        (_grey(foreground.astype(np.float32)), "foreground"),
        (_grey((noise + 1) / 2), "Perlin noise"),
        (_grey(mask.astype(np.float32)), "mask"),
        (texture, "texture"),
        (result, "result"),
    ]


def outlined(image: Picture, mask: Mask) -> Picture:
    """The image with its mask's outline."""
    result = image.copy()
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(result, lines, -1, OUTLINE, 1, cv2.LINE_AA)
    return result


def _grey(field: npt.NDArray[np.float32]) -> Picture:
    levels = np.clip(field * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_GRAY2BGR), dtype=np.uint8)


def _row(cells: Sequence[Cell]) -> Picture:
    step = CELL + GAP
    row = np.full((step + CAPTION, COLUMNS * step + GAP, 3), PAPER, np.uint8)
    for index, (picture, caption) in enumerate(cells):
        left = GAP + index * step
        small = cv2.resize(picture, (CELL, CELL), interpolation=cv2.INTER_AREA)
        row[GAP : GAP + CELL, left : left + CELL] = small
        at = (left, CELL + GAP + 16)
        cv2.putText(row, caption, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    return row


if __name__ == "__main__":
    main()
