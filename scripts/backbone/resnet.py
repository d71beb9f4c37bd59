"""ResNet up to layer3 as a torch module, under torchvision's parameter names.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the wide variant is
Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016. As in torchvision, a bottleneck's
stride sits on its 3x3 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = {"layer1": 4, "layer2": 8, "layer3": 16}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(channels_in, channels, stride=stride)

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        inner = torch.relu(self.bn1(self.conv1(image)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.downsample(image))


class ResNet(nn.Module):
    """conv1 to layer3 of a ResNet; layer4 and the classifier are left out.

    Args:
        layers: the blocks of layer1, layer2 and layer3.
    """

    def __init__(self, *layers: nn.Sequential) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1, self.layer2, self.layer3 = layers

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Stage outputs of a normalised RGB image, (N, 3, H, W) float32.

        Returns:
            ``layer1`` (stride 4), ``layer2`` (stride 8) and ``layer3`` (stride 16).
        """
        inner = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        first = self.layer1(inner)
        second = self.layer2(first)
        return {"layer1": first, "layer2": second, "layer3": self.layer3(second)}


def resnet18() -> ResNet:
    """ResNet-18 to layer3 with random weights: 64, 128 and 256 channels."""
    layers = []
    channels_in = 64
    for channels, stride in ((64, 1), (128, 2), (256, 2)):
        first = BasicBlock(channels_in, channels, stride=stride)
        layers.append(nn.Sequential(first, BasicBlock(channels, channels, stride=1)))
        channels_in = channels
    return ResNet(*layers)


def shortcut(channels_in: int, channels: int, *, stride: int) -> nn.Sequential:
    """A 1x1 convolution where the shape changes; an empty sequence passes the input on."""
    if stride == 1 and channels_in == channels:
        return nn.Sequential()
    convolution = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels))
