"""PRN, the prototypical residual network: everything after the frozen backbone.

Source: Zhang, Wu, Wang, Chen and Jiang, "Prototypical Residual Networks for Anomaly Detection and
Localization", CVPR 2023 (arXiv 2212.02031).

    stage f ┬─ nearest prototype p ── (f - p)² ── MF ─┐
            └──────────────────────────────────── MF ─┴─ f ‖ r ── N × MSA ── MF ── decoder ── logits
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from calibrate.images import Size
from calibrate.prn.network.attention import MultiSizeSelfAttention
from calibrate.prn.network.decoder import Decoder
from calibrate.prn.network.fusion import MultiScaleFusion
from calibrate.prn.network.matching import Matching, residual
from calibrate.prn.options import PATCH_GRIDS, Shape


class PRN(nn.Module):
    """From a backbone's stages to logits; a sigmoid makes them the anomaly map.

    What the paper leaves open, or what differs from it:

    - Our backbones end at stride 16. The deepest map, which the decoder alone uses, is therefore a
      trained 3x3 convolution of stride 2 on the stage at stride 16, not ResNet's layer4.
    - Features are divided by their root mean square over good images, one number a scale, so that
      any backbone trains alike; the residuals are of these.
    - Features and residuals have a first fusion each: their ranges differ by far.
    - `compact` narrows features ‖ residuals by a 1x1 convolution before the attention, which is
      one block a scale and not three.

    Args:
        shape: fixes all sizes. The prototypes are zeros until `learn` is called or weights are
            loaded.
    """

    scale: Tensor  # (3,) float32: 1 / root mean square of each stage

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        proportions, sizes = shape.proportions, shape.sizes
        self.register_buffer("scale", torch.ones(len(sizes)))
        self.matching = nn.ModuleList(
            Matching(count, channels, size)
            for count, channels, size in zip(shape.prototypes, shape.channels, sizes, strict=True)
        )
        self.fuse_features = MultiScaleFusion(shape.channels, sizes)
        self.fuse_residuals = MultiScaleFusion(shape.channels, sizes)
        self.entry = nn.ModuleList(
            _entry(2 * channels, width) if shape.size == "compact" else nn.Identity()
            for channels, width in zip(shape.channels, proportions.widths, strict=True)
        )
        self.attention = nn.ModuleList(_attention(shape, index) for index in range(len(sizes)))
        self.fuse = MultiScaleFusion(proportions.widths, sizes)
        self.deepen = nn.Sequential(
            nn.Conv2d(shape.channels[-1], proportions.deepest, 3, 2, 1, bias=False),
            nn.BatchNorm2d(proportions.deepest),
            nn.ReLU(),
        )
        self.decoder = Decoder(
            proportions.deepest,
            fused=proportions.widths,
            channels=proportions.decoder,
            sizes=sizes,
            image_size=shape.image_size,
        )

    @torch.no_grad()
    def learn(self, prototypes: Sequence[Tensor], *, scale: Tensor) -> None:
        """Take the prototypes of each scale, (K, C, H, W), and the scales' factors, (3,).

        Args:
            prototypes: of the stages as the backbone gives them.
            scale: 1 / root mean square of each stage.
        """
        self.scale.copy_(scale)
        for matching, maps, factor in zip(self.matching, prototypes, self.scale, strict=True):
            assert isinstance(matching, Matching)
            matching.learn(maps.to(factor.device) * factor)

    def forward(self, stages: dict[str, Tensor]) -> Tensor:
        """Logits of an image whose stages are given.

        Args:
            stages: (N, C, H / stride, W / stride) under the shape's names; others are ignored.

        Returns:
            (N, 1, H, W).
        """
        features, residuals = self.compare(stages)
        fused = zip(self.fuse_features(features), self.fuse_residuals(residuals), strict=True)
        joined = [torch.cat(pair, dim=1) for pair in fused]
        scales = [entry(scale) for entry, scale in zip(self.entry, joined, strict=True)]
        scales = [attend(scale) for attend, scale in zip(self.attention, scales, strict=True)]
        logits: Tensor = self.decoder(self.deepen(features[-1]), self.fuse(scales))
        return logits

    @torch.no_grad()
    def compare(self, stages: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Features and residuals of every scale; nothing in them is trained."""
        features = [
            stages[name] * factor
            for name, factor in zip(self.shape.stages, self.scale, strict=True)
        ]
        residuals = [
            residual(feature, matching(feature))
            for feature, matching in zip(features, self.matching, strict=True)
        ]
        return features, residuals


def grids_of(size: Size) -> tuple[int, ...]:
    """The patch grids that divide a map without rest; all four at 256 px."""
    return tuple(grid for grid in PATCH_GRIDS if size[0] % grid == 0 and size[1] % grid == 0)


def _entry(channels_in: int, channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), nn.BatchNorm2d(channels))


def _attention(shape: Shape, index: int) -> nn.Module:
    proportions, size = shape.proportions, shape.sizes[index]
    return nn.Sequential(
        *(
            MultiSizeSelfAttention(proportions.widths[index], size, grids=grids_of(size))
            for _ in range(proportions.repeats)
        )
    )
