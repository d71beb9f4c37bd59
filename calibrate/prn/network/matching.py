"""Nearest prototypes and residuals (PRN, section 3.2).

||f - p_k||² = ||f||² - 2 f·p_k + ||p_k||², and ||f||² is the same for every k: one matrix product
and a sum decide, which every inference engine has. All of it is float32: a product sums up to
262 144 terms, and a flipped choice changes the whole residual.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calibrate.images import Size


class Matching(nn.Module):
    """The nearest prototype, a whole feature map, of each image on one scale.

    Args:
        count: prototypes (K).
        channels: of the stage.
        size: (height, width) of the stage.
    """

    prototypes: Tensor  # (K, C, H, W) float32
    energy: Tensor  # (K,) float32: ||p_k||²

    def __init__(self, count: int, channels: int, size: Size) -> None:
        super().__init__()
        self.register_buffer("prototypes", torch.zeros(count, channels, *size))
        self.register_buffer("energy", torch.zeros(count))

    @torch.no_grad()
    def learn(self, prototypes: Tensor) -> None:
        """Take prototypes, (K, C, H, W)."""
        self.prototypes.copy_(prototypes)
        self.energy.copy_(self.prototypes.double().square().sum(dim=(1, 2, 3)))

    def nearest(self, features: Tensor) -> Tensor:
        """Index of the nearest prototype: (N, C, H, W) to (N,) int64."""
        with torch.autocast(features.device.type, enabled=False):
            flat = features.float().flatten(1)
            product = flat @ self.prototypes.flatten(1).t()
            return (self.energy - 2 * product).argmin(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """The nearest prototypes themselves: (N, C, H, W) float32."""
        return self.prototypes.index_select(0, self.nearest(features))


def residual(features: Tensor, prototypes: Tensor) -> Tensor:
    """(f - p)², element by element; float32, for its tail is heavy."""
    return (features.float() - prototypes).square()
