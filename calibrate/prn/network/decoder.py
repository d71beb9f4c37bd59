"""The decoder: a U-Net's way up from the deepest map to one logit a pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from calibrate.images import Size
from calibrate.prn.network.fusion import Up, upsample


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


class Logit(nn.Module):
    """Up to the image's size, then a 3x3 convolution to one logit, at a fraction of the work.

    The convolution is a sum over its nine places. The product with the channels at each of them
    changes places with the up-sampling, so that nine maps are up-sampled, not all channels; and
    bilinear up-sampling and the shift to a place together are one matrix per axis. The result is
    the same, padding included.

    Args:
        channels: of the map.
        source: (height, width) of the map.
        target: (height, width) of the logits.
    """

    rows: Tensor  # (H, 3·h): one block for each row of the kernel
    columns: Tensor  # (3·w, W): one block for each column

    def __init__(self, channels: int, *, source: Size, target: Size) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 9, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(1))
        rows, columns = (_shift(*axis) for axis in zip(source, target, strict=True))
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns.t().contiguous(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, h, w) to (N, 1, H, W)."""
        batch, _, height, width = image.shape
        places = self.conv(image).reshape(batch, 3, 3, height, width)
        beside = places.permute(0, 1, 3, 2, 4).reshape(batch, 3, height, 3 * width)
        wide = (beside @ self.columns).reshape(batch, 3 * height, -1)
        logits: Tensor = self.rows @ wide + self.bias
        return logits.unsqueeze(1)


def _shift(source: int, target: int) -> Tensor:
    """Up-sampling of one axis, then a shift by -1, 0 and 1 with zeros: (target, 3·source)."""
    up = upsample(torch.eye(source).reshape(1, source, source, 1), (target, 1))
    padded = functional.pad(up.reshape(source, target).t(), (0, 0, 1, 1))
    return torch.cat([padded[place : place + target] for place in range(3)], dim=1)


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
        self.logit = Logit(channels[0], source=sizes[0], target=image_size)

    def forward(self, deepest: Tensor, fused: Sequence[Tensor]) -> Tensor:
        """The deepest and the fused maps to logits, (N, 1, H, W)."""
        inner = deepest
        for level, scale in zip(reversed(self.levels), reversed(fused), strict=True):
            inner = level(inner, scale)
        result: Tensor = self.logit(inner)
        return result
