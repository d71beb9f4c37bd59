"""MobileNetV2 up to stride 16 as a torch module, under torchvision's parameter names.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from __future__ import annotations

from torch import Tensor, nn

from calibrate.backbones.architectures import INVERTED, MOBILENET_STAGES


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; with a shortcut where the shape stays."""

    def __init__(self, channels_in: int, channels: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(_conv_norm(channels_in, width, kernel=1))
        layers.append(_conv_norm(width, width, kernel=3, stride=stride, groups=width))
        layers += [nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels)]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and channels_in == channels

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        inner: Tensor = self.conv(image)
        return image + inner if self.has_shortcut else inner


class MobileNetV2(nn.Module):
    """features.0 to features.13 of MobileNetV2; what comes after stride 16 is left out."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_conv_norm(3, 32, kernel=3, stride=2)]
        channels_in = 32
        for expansion, channels, depth, first_stride in INVERTED:
            for position in range(depth):
                stride = first_stride if position == 0 else 1
                blocks.append(
                    InvertedResidual(channels_in, channels, stride=stride, expansion=expansion)
                )
                channels_in = channels
        self.features = nn.Sequential(*blocks[: max(MOBILENET_STAGES) + 1])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Stage outputs of a normalised RGB image, (N, 3, H, W) float32.

        Returns:
            ``layer1`` (stride 4), ``layer2`` (stride 8) and ``layer3`` (stride 16).
        """
        stages: dict[str, Tensor] = {}
        for index, block in enumerate(self.features):
            image = block(image)
            if index in MOBILENET_STAGES:
                stages[MOBILENET_STAGES[index]] = image
        return stages


def mobilenet_v2() -> MobileNetV2:
    """MobileNetV2 1.0 with random weights: 24, 32 and 96 channels."""
    return MobileNetV2()


def _conv_norm(
    channels_in: int, channels: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(
        channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU6(inplace=True))
