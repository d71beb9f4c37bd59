"""Multi-size self-attention (MSA, PRN section 3.4).

A map is cut into patches of several sizes, which attend to each other; the results are
concatenated and go through a residual block. One head; q, k and v are the patch times a scale plus
a bias for each of its elements. Three exact simplifications follow, for training and inference:

- q·k = Σ (x_i s_q + b_q)(x_j s_k + b_k); what does not depend on j cancels in the softmax over j,
  and what is left is Σ (x_i a + b) x_j with a = s_q s_k and b = b_q s_k. So q alone is scaled.
- The weights sum to 1, so that scale and bias of v can follow the weighted sum.
- One patch of the whole map has the weight 1: it needs no q and k at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calibrate.images import Size


class PatchAttention(nn.Module):
    """Self-attention between the patches of one size.

    Args:
        channels: of the map.
        size: (height, width) of the map; multiples of `grid`.
        grid: patches per side.
    """

    def __init__(self, channels: int, size: Size, *, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.patch = (size[0] // grid, size[1] // grid)
        self.elements = channels * self.patch[0] * self.patch[1]
        shape = (1, 1, self.elements)
        self.value_scale = nn.Parameter(torch.ones(shape))
        self.value_bias = nn.Parameter(torch.zeros(shape))
        if grid > 1:
            self.query_scale = nn.Parameter(torch.ones(shape))
            self.query_bias = nn.Parameter(torch.zeros(shape))

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, H, W), in and out."""
        patches = self.cut(image)
        if self.grid > 1:
            # Divided before the product, which sums up to 131 072 terms: float16 would overflow.
            query = self._scale(
                patches, self.query_scale / self.elements, self.query_bias / self.elements
            )
            weights = torch.softmax(query @ patches.transpose(1, 2), dim=-1)
            patches = weights.to(patches.dtype) @ patches
        return self.join(self._scale(patches, self.value_scale, self.value_bias))

    def _scale(self, patches: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        # In the patches' type: a float32 product would cost twice the memory, to be cast again.
        return patches * scale.to(patches.dtype) + bias.to(patches.dtype)

    def cut(self, image: Tensor) -> Tensor:
        """(N, C, H, W) to (N, grid², C·h·w): one row a patch."""
        batch, channels = image.shape[:2]
        (height, width), grid = self.patch, self.grid
        parts = image.reshape(batch, channels, grid, height, grid, width)
        return parts.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, self.elements)

    def join(self, patches: Tensor) -> Tensor:
        """Undo `cut`."""
        batch = patches.shape[0]
        (height, width), grid = self.patch, self.grid
        parts = patches.reshape(batch, grid, grid, -1, height, width)
        joined = parts.permute(0, 3, 1, 4, 2, 5)
        return joined.reshape(batch, -1, grid * height, grid * width)


class ResidualBlock(nn.Module):
    """3x3 - BN - ReLU - 3x3 - BN, plus a 1x1 convolution of the input.

    Args:
        channels_in: of the input.
        channels: of the output.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.skip = nn.Conv2d(channels_in, channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels, H, W)."""
        body: Tensor = self.body(image)
        skip: Tensor = self.skip(image)
        return body + skip


class MultiSizeSelfAttention(nn.Module):
    """Attention at every patch size, concatenated, then a residual block.

    Args:
        channels: of the map.
        size: (height, width) of the map.
        grids: patches per side, one number for each patch size.
    """

    def __init__(self, channels: int, size: Size, *, grids: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(PatchAttention(channels, size, grid=g) for g in grids)
        self.block = ResidualBlock(len(grids) * channels, channels)

    def forward(self, image: Tensor) -> Tensor:
        """(N, C, H, W), in and out."""
        attended = torch.cat([branch(image) for branch in self.branches], dim=1)
        result: Tensor = self.block(attended)
        return result
