"""The networks that can be exported, as torch modules: what their ONNX graphs are held against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from backbone.resnet import ResNet, resnet18, shortcut
from torch import Tensor, nn

from calibrate.backbones.architectures import INVERTED, MOBILENET_STAGES


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution and a shortcut."""

    def __init__(self, channels_in: int, channels: int, *, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(channels_in, channels, stride=stride)

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels_in, H, W) to (N, channels, H / stride, W / stride)."""
        inner = torch.relu(self.bn1(self.conv1(image)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        return torch.relu(self.bn3(self.conv3(inner)) + self.downsample(image))


def wide_resnet50_2() -> ResNet:
    """Wide-ResNet-50-2 to layer3 with random weights: 256, 512 and 1024 channels."""
    layers = []
    channels_in = 64
    for channels, depth, stride in ((256, 3, 1), (512, 4, 2), (1024, 6, 2)):
        inner = channels // 2
        blocks = [Bottleneck(channels_in, channels, inner=inner, stride=stride)]
        blocks += [Bottleneck(channels, channels, inner=inner, stride=1) for _ in range(depth - 1)]
        layers.append(nn.Sequential(*blocks))
        channels_in = channels
    return ResNet(*layers)


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
    """features.0 to features.13 of MobileNetV2, under torchvision's parameter names.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """

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


def _conv_norm(
    channels_in: int, channels: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(
        channels_in, channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU6(inplace=True))


NETWORKS = {
    "resnet18": resnet18,
    "wide_resnet50_2": wide_resnet50_2,
    "mobilenet_v2": MobileNetV2,
}


def random_network(name: str) -> nn.Module:
    """The torch network with random weights and batch norm statistics that matter."""
    torch.manual_seed(3)
    network = NETWORKS[name]().eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.0)
            nn.init.uniform_(part.bias, -0.3, 0.3)
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    return network


def random_image(height: int, width: int, *, count: int = 1) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(height + width)
    return rng.standard_normal((count, 3, height, width)).astype(np.float32)


def worst_error(network: nn.Module, model: bytes, image: npt.NDArray[np.float32]) -> float:
    """Largest difference between torch and ONNX Runtime, relative to the stage's largest value."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with torch.no_grad():
        wanted = network(torch.from_numpy(image))
    assert names == list(wanted)
    errors = []
    for name, found in zip(names, session.run(names, {"input": image}), strict=True):
        reference = wanted[name].numpy()
        assert found.shape == reference.shape
        errors.append(np.abs(found - reference).max() / np.abs(reference).max())
    return float(max(errors))
