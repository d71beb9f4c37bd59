"""A ResNet-18 with random weights: nothing to download, and as heavy as the real one."""

from __future__ import annotations

import hashlib

import numpy as np

from calibrate.backbones.architectures import ARCHITECTURES
from calibrate.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from calibrate.backbones.graph import GraphWriter
from calibrate.backbones.weights import Weights


class RandomWeights(Weights):
    """Weights of any shape that is asked for; batch norms that change nothing."""

    def __init__(self) -> None:
        super().__init__({}, source="random")
        self._random = np.random.default_rng(0)

    def take(self, name: str, *shape: int) -> np.ndarray:
        if len(shape) == 1:
            gains = name.endswith(("running_var", "weight"))
            return np.full(shape, 1.0 if gains else 0.0, np.float32)
        spread = np.sqrt(2 / np.prod(shape[1:]))
        return self._random.normal(0, spread, shape).astype(np.float32)


def resnet18() -> Backbone:
    writer = GraphWriter()
    stages = ARCHITECTURES["resnet18"].walk(writer, RandomWeights())
    model = writer.model(stages, name="resnet18", source="random").SerializeToString()
    return Backbone(
        name="resnet18",
        model=model,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stages={name: stage.stride for name, stage in stages.items()},
        channels={name: stage.channels for name, stage in stages.items()},
        sha256=hashlib.sha256(model).hexdigest(),
    )
