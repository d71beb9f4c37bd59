"""The decoder: a U-Net's way up from the deepest map to one logit a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from calibrate.images import Size
from calibrate.prn.fusion import Up, upsampled


class Level(nn.Module):
    """Twice as high and wide, joined with the fused map of that scale."""

    def __init__(self, channels_in: int, joined: int, channels: int, *, size: Size) -> None:
        super().__init__()
        self.up = Up(channels_in, channels, size=size)
        self.convs = nn.Sequential(
            nn.Conv2d(channels + joined, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, coarse: Tensor, fused: Tensor) -> Tensor:
        """(N, channels_in, h, w) and (N, joined, 2h, 2w) to (N, channels, 2h, 2w)."""
        result: Tensor = self.convs(torch.cat([self.up(coarse), fused], dim=1))
        return result


class Decoder(nn.Module):
    """Three levels, then four times as high and wide, and a 3x3 convolution to one logit.

    Args:
        deepest: channels of the deepest map.
        fused: channels of the fused maps, finest first.
        channels: of the levels, finest first.
        sizes: (height, width) of the levels, finest first.
        image_size: (height, width) of the result.
    """

    def __init__(
        self,
        deepest: int,
        *,
        fused: Sequence[int],
        channels: Sequence[int],
        sizes: Sequence[Size],
        image_size: Size,
    ) -> None:
        super().__init__()
        before = [*channels[1:], deepest]
        self.levels = nn.ModuleList(
            Level(*counts, size=size)
            for counts, size in zip(zip(before, fused, channels, strict=True), sizes, strict=True)
        )
        self.image_size = image_size
        self.logit = nn.Conv2d(channels[0], 1, 3, padding=1)

    def forward(self, deepest: Tensor, fused: Sequence[Tensor]) -> Tensor:
        """The deepest and the fused maps to logits, (N, 1, H, W)."""
        inner = deepest
        for level, scale in zip(reversed(self.levels), reversed(fused), strict=True):
            inner = level(inner, scale)
        result: Tensor = self.logit(upsampled(inner, self.image_size))
        return result
