"""Multi-scale fusion (MF, PRN section 3.3): every scale gains from every other one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from calibrate.images import Size


class Up(nn.Module):
    """A coarser scale to a finer one: 1x1 convolution, then bilinear.

    In this order it is exactly the same as up-sampling first, at a fraction of the work.
    """

    def __init__(self, channels_in: int, channels: int, *, size: Size) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 1)
        self.size = size

    def forward(self, coarse: Tensor) -> Tensor:
        """(N, channels_in, h, w) to (N, channels, H, W)."""
        return upsample(self.conv(coarse), self.size)


class MultiScaleFusion(nn.Module):
    """Each scale plus what every other one says about it.

    Down: a grouped 3x3 convolution of stride 2, or a 5x5 one of stride 4; up: see `Up`.

    Args:
        channels: of the scales, finest first, each half as high and wide as the one before.
        sizes: (height, width) of the scales.
    """

    def __init__(self, channels: Sequence[int], sizes: Sequence[Size]) -> None:
        super().__init__()
        self.paths = nn.ModuleList(
            nn.ModuleList(
                _path(source, target, channels=channels, sizes=sizes)
                for source in range(len(channels))
            )
            for target in range(len(channels))
        )

    def forward(self, scales: Sequence[Tensor]) -> list[Tensor]:
        """(N, C_i, H_i, W_i) each, in and out."""
        fused = []
        for paths in self.paths:
            assert isinstance(paths, nn.ModuleList)
            total = paths[0](scales[0])
            for path, scale in zip(list(paths)[1:], scales[1:], strict=True):
                total = total + path(scale)
            fused.append(total)
        return fused


def upsample(coarse: Tensor, size: Size) -> Tensor:
    """Bilinear, as in OpenCV and in ONNX's `half_pixel`."""
    return functional.interpolate(coarse, size, mode="bilinear", align_corners=False)


def _path(source: int, target: int, *, channels: Sequence[int], sizes: Sequence[Size]) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        return Up(channels[source], channels[target], size=sizes[target])
    stride = 2 ** (target - source)
    return nn.Conv2d(
        channels[source],
        channels[target],
        stride + 1,
        stride=stride,
        padding=stride // 2,
        groups=math.gcd(channels[source], channels[target]),
    )
