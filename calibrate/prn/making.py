"""PRN's trained network at a precision, made as often as wanted; this module loads torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from calibrate.images import Image, evenly, fitted_batches
from calibrate.precision.convert import CALIBRATION_IMAGES, Conversion
from calibrate.precision.parity import GATE_IMAGES, Kept
from calibrate.prn.defects.foreground import scene_from_images
from calibrate.prn.defects.real import defects_from_folder
from calibrate.prn.defects.synthesis import Synthesis
from calibrate.prn.defects.textures import textures_from_folder
from calibrate.prn.learn import SCENE_IMAGES, PrnRecipe, split
from calibrate.progress import Stages
from calibrate.protoad.learn import HeldOut, OpenEngine

PRECISION = "protoedge.precision"  # key of the graph's metadata


@dataclass(frozen=True, slots=True, eq=False)
class PrnMaking:
    """Brings a trained network to its precision.

    Attributes:
        exact: serialised ONNX of the inspector in fp32.
        conversion: of it.
        images: good images that were held out.
        recipe: of the inspector.
        open_engine: opens the deployed engine on a graph of a precision.
        stages: told about progress.
    """

    exact: bytes
    conversion: Conversion
    images: tuple[Path, ...]
    recipe: PrnRecipe
    open_engine: OpenEngine
    stages: Stages

    def model(self, kept: Kept) -> bytes:
        """The graph that is deployed, with some nodes in higher precision."""
        model = onnx.load_model_from_string(self.conversion.model(kept))
        for entry in model.metadata_props:
            if entry.key == PRECISION:
                entry.value = self.recipe.precision
        return bytes(model.SerializeToString())

    def held_out(self, model: bytes) -> npt.NDArray[np.float32]:
        """(n,) scores of the images that were held out."""
        recipe = self.recipe
        with (
            self.stages.stage("held-out scores"),
            self.open_engine(model, recipe.precision) as engine,
        ):
            batches = fitted_batches(self.images, size=recipe.size, roi=recipe.roi)
            scores = [np.asarray(engine.infer(batch)[1], np.float32) for batch in batches]
        return np.concatenate(scores)

    def trial(self, model: bytes) -> HeldOut:
        """The graph against fp32, on some of the images that were held out."""
        return HeldOut(self.exact, model, tuple(evenly(self.images, GATE_IMAGES)))


def prn_making(
    exact: bytes,
    images: Sequence[Path],
    *,
    recipe: PrnRecipe,
    open_engine: OpenEngine,
    stages: Stages,
) -> PrnMaking:
    """Prepare a trained network; for int8 its value ranges are measured here, once.

    Args:
        exact: serialised ONNX of the trained inspector in fp32.
        images: all that it was given: the same are held out again.
        recipe: that it was trained by, at the precision that is wanted.
        open_engine: opens the deployed engine on a graph of a precision.
        stages: told about progress.

    Raises:
        PrecisionError: int8 cannot be had.
    """
    taught, held_out = split(images, seed=recipe.settings.seed)
    with stages.stage("precision"):
        calibration = _calibration(taught, recipe=recipe) if recipe.precision == "int8" else ()
        conversion = Conversion(exact, recipe.precision, calibration=calibration)
    return PrnMaking(conversion.exact, conversion, tuple(held_out), recipe, open_engine, stages)


def _calibration(taught: Sequence[Path], *, recipe: PrnRecipe) -> Iterator[Image]:
    """Good images, each once as it is and once with a defect, as they were trained with.

    Residuals are small on good images: ranges measured on those alone would clip what matters.
    """
    textures = textures_from_folder(recipe.textures, size=recipe.size) if recipe.textures else ()
    defects = (
        defects_from_folder(
            recipe.defects, size=recipe.size, roi=recipe.roi, most=recipe.most_defects
        )
        if recipe.defects
        else ()
    )
    scene = scene_from_images(_read(evenly(taught, SCENE_IMAGES), recipe))
    synthesis = Synthesis(textures, defects, scene)
    for index, image in enumerate(_read(evenly(taught, CALIBRATION_IMAGES // 2), recipe)):
        rng = np.random.default_rng([recipe.settings.seed, index])
        yield np.stack([image, synthesis(image, rng)[0]])


def _read(paths: Sequence[Path], recipe: PrnRecipe) -> list[Image]:
    batches = fitted_batches(paths, size=recipe.size, roi=recipe.roi)
    return [image for batch in batches for image in batch]
