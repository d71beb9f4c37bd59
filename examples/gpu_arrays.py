"""Images that are on the GPU already, straight into a bundle's engine: pycuda, CuPy or torch.

    python examples/gpu_arrays.py build/bottle.edge picture.png --with pycuda

The library's context is made first and shared by the engine, so nothing is copied between the two.
The engine gives the anomaly map and the raw score; compare the score with the bundle's threshold.
For a verdict with regions from images of the host use `edge.load(...).inspect` instead.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

import edge
from calibrate.images import fit_image
from cameras.errors import ImageError
from cameras.image_files import image_from_file
from engines.bundle import Bundle


def array_on_gpu(library: str, images: npt.NDArray[np.uint8]) -> Any:
    """Copy (N, H, W, 3) uint8 to the GPU; stands for what a camera or a decoder left there."""
    if library == "pycuda":
        import pycuda.autoprimaryctx  # noqa: F401  the context that CuPy and torch use as well
        from pycuda import gpuarray

        return gpuarray.to_gpu(images)
    if library == "cupy":
        import cupy

        return cupy.asarray(images)
    import torch

    return torch.as_tensor(images).cuda()


def main() -> int:
    """Print the score of one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("picture")
    parser.add_argument(
        "--with", dest="chosen", default="pycuda", choices=["pycuda", "cupy", "torch"]
    )
    parser.add_argument("--engine", default="tensorrt", choices=["tensorrt", "tensorrt-rtx"])
    asked = parser.parse_args()
    try:
        manifest = Bundle.open(asked.bundle).manifest
        picture = image_from_file(asked.picture, bit_depth=manifest.bit_depth)
        images = fit_image(picture, manifest.size, None)[None]
        array = array_on_gpu(asked.chosen, images)  # before the engine: it shares this context
        with edge.load(asked.bundle, engine=asked.engine) as inspector:
            maps, scores = inspector.engine.infer(array)
            threshold = inspector.threshold
    except (edge.EngineError, edge.BundleError, ImageError, ImportError, RuntimeError) as error:
        print(f"{asked.chosen}: {error}", file=sys.stderr)
        return 1
    print(f"score {scores[0]:.4f}, threshold {threshold:.4f}, map {maps.shape}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
