"""Run a bundle without protoedge: manifest, ONNX Runtime, numpy and OpenCV.

python host.py build/bottle.edge image.png ...
"""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime


def fit(image: Any, size: list[int], roi: dict[str, int] | None) -> Any:
    """Crop and resize to (height, width): halve while twice too large, the rest is bilinear."""
    if roi:
        image = image[roi["y"] : roi["y"] + roi["height"], roi["x"] : roi["x"] + roi["width"]]
        if image.shape[:2] != (roi["height"], roi["width"]):
            raise SystemExit("the region of interest reaches beyond the image")
    height, width = image.shape[:2]
    while (height, width) != tuple(size) and (height >= 2 * size[0] or width >= 2 * size[1]):
        height = height // 2 if height >= 2 * size[0] else height
        width = width // 2 if width >= 2 * size[1] else width
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if (height, width) != tuple(size):
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return image


bundle = Path(sys.argv[1])
manifest = json.loads((bundle / "manifest.json").read_text())
session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
for path in sys.argv[2:]:
    image = cv2.imread(path, cv2.IMREAD_COLOR)  # (H, W, 3) uint8 BGR
    if image is None:
        raise SystemExit(f"{path}: not an image")
    given = {"image": np.ascontiguousarray(fit(image, manifest["size"], manifest["roi"]))[None]}
    anomaly_map, score = (output[0] for output in session.run(None, given))
    finite = np.isfinite(score) and np.isfinite(anomaly_map).all()  # else ERROR, never OK
    bad = score >= np.float32(manifest["threshold"]["value"])  # both as float32
    verdict = "ERROR" if not finite else "NG" if bad else "OK"
    sys.stdout.write(f"{path} {verdict} {score:.9g}\n")
