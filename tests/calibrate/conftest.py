"""Small backbones with random weights, and images on which their features differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from calibrate.backbones.backbone import IMAGENET_MEAN, IMAGENET_STD, Backbone
from calibrate.backbones.graph import GraphWriter, StageOutput

STRIDES = {"layer1": 4, "layer2": 8, "layer3": 16}


@dataclass(frozen=True)
class Small:
    """A backbone and its weights, layer by layer: each a 3x3 convolution of stride 2, then ReLU."""

    backbone: Backbone
    weights: tuple[tuple[np.ndarray, np.ndarray], ...]


def small(*, channels: tuple[int, ...] = (16, 24, 32, 40), opset: int = 17, seed: int = 0) -> Small:
    """Four convolutions: the stem and one per stage."""
    random = np.random.default_rng(seed)
    graph, name, before, weights, tensors = GraphWriter(), "input", 3, [], []
    for after in channels:
        spread = np.sqrt(2 / (9 * before))
        weight = random.normal(0, spread, (after, before, 3, 3)).astype(np.float32)
        bias = random.normal(0, 0.1, after).astype(np.float32)
        name = graph.relu(graph.conv(name, weight, bias, stride=2))
        weights.append((weight, bias))
        tensors.append(name)
        before = after
    stages = {
        layer: StageOutput(tensor, count, stride)
        for (layer, stride), tensor, count in zip(
            STRIDES.items(), tensors[1:], channels[1:], strict=True
        )
    }
    model = graph.model(stages, name="small", source="random")
    model.opset_import[0].version = opset
    content = model.SerializeToString()
    backbone = Backbone(
        name="small",
        model=content,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        stages=dict(STRIDES),
        channels={layer: stage.channels for layer, stage in stages.items()},
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return Small(backbone, tuple(weights))


@pytest.fixture(scope="session")
def small_backbone() -> Callable[..., Small]:
    return small


def blobs(count: int, size: tuple[int, int], *, seed: int = 7) -> np.ndarray:
    """(count, H, W, 3) uint8: coarse noise, to which convolutions answer strongly."""
    random = np.random.default_rng(seed)
    shape = (count, size[0] // 8, size[1] // 8, 3)
    coarse = random.integers(0, 256, shape, dtype=np.uint8)
    fine = random.integers(-20, 21, (count, *size, 3))
    picture = coarse.repeat(8, axis=1).repeat(8, axis=2) + fine
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def pictures() -> Callable[..., np.ndarray]:
    return blobs


def unit_rows(count: int, dimensions: int, *, seed: int = 3) -> np.ndarray:
    """(count, dimensions) float32 unit rows, none of them negative, as ReLU's features are."""
    rows = np.abs(np.random.default_rng(seed).normal(size=(count, dimensions)))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def directions() -> Callable[..., np.ndarray]:
    return unit_rows
