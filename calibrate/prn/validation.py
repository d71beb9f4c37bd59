"""Validation of PRN on held-out good images and synthesised defects; never on a test set."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from calibrate.metrics import PixelTally, image_auroc
from calibrate.prn.batches import Batch
from calibrate.prn.graph.torch_backbone import FrozenBackbone
from calibrate.prn.network.network import PRN
from calibrate.prn.options import DIVERGED, TrainingError, Validation

HIGHEST = 100  # pixels whose mean is an image's score


def image_scores(maps: Tensor) -> Tensor:
    """Mean of the 100 highest pixels: (N, H, W) to (N,)."""
    flat = maps.flatten(1)
    return flat.topk(min(HIGHEST, flat.shape[1]), dim=1).values.mean(dim=1)


@torch.no_grad()
def anomaly_maps(backbone: FrozenBackbone, network: PRN, images: Tensor) -> Tensor:
    """Maps in float32, as an inspector gives them.

    Args:
        backbone: of the network.
        network: in whichever mode; it is run in evaluation mode.
        images: (N, H, W, 3) uint8 BGR, on their device.

    Returns:
        (N, H, W), from 0 to 1.
    """
    was_training = network.training
    network.eval()
    logits: Tensor = network(backbone(images))
    network.train(was_training)
    return logits.float().sigmoid().squeeze(1)


def validated(
    backbone: FrozenBackbone, network: PRN, batches: Iterable[Batch], *, step: int
) -> Validation:
    """Figures over all batches.

    Raises:
        TrainingError: a map is not finite: the training has diverged.
    """
    pixels, scores, defects = PixelTally(), list[float](), list[bool]()
    for batch in batches:
        images = torch.from_numpy(batch.images).to(backbone.mean.device)
        maps = anomaly_maps(backbone, network, images).cpu()
        if not bool(torch.isfinite(maps).all()):
            raise TrainingError(f"step {step}: {DIVERGED}")
        scores += image_scores(maps).tolist()
        defects += [bool(mask.any()) for mask in batch.masks]
        for anomaly_map, mask in zip(maps.numpy(), batch.masks, strict=True):
            pixels.add(anomaly_map, mask=mask)
    figures = pixels.figures()
    return Validation(
        step=step,
        image_auroc=image_auroc(scores, defects=defects).value,
        pixel_auroc=figures.auroc.value,
        average_precision=figures.average_precision.value,
    )
