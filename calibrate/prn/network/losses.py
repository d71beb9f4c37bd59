"""What PRN is trained for: smooth-L1 plus focal loss on the anomaly map (PRN, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FOCAL_WEIGHT = 5.0
FOCAL_ALPHA = 0.5
FOCAL_GAMMA = 4.0
SMOOTH_L1_BETA = 1.0


def prn_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """smoothL1(β = 1) + 5 · focal(α = .5, γ = 4), means over all pixels, in float32.

    The paper names the two; weights and exponents are those of DiffusionAD by the same first
    author, which the public re-implementation agrees with.

    Args:
        logits: (N, 1, H, W).
        masks: (N, H, W) bool, True where defective.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = logits.float().squeeze(1)
        wanted = masks.float()
        smooth = functional.smooth_l1_loss(logits.sigmoid(), wanted, beta=SMOOTH_L1_BETA)
        return smooth + FOCAL_WEIGHT * focal_loss(logits, wanted)


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """-α (1 - p_t)^γ log p_t, mean over all pixels; p_t is the probability of what is wanted.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017. From logits, for
    log(sigmoid(x)) loses all digits where x is far below 0.

    Args:
        logits: of any shape.
        wanted: 0 or 1, of the same shape.
    """
    signed = logits * (2 * wanted - 1)
    missing = torch.sigmoid(-signed)  # 1 - p_t
    return -(FOCAL_ALPHA * missing**FOCAL_GAMMA * functional.logsigmoid(signed)).mean()
