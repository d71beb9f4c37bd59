"""The bundled backbone's network: ResNet-18 to layer3 with low-rank convolutions.

Each KxK convolution of ResNet-18 becomes a KxK convolution to few channels, followed by a 1x1
convolution back to the original width. Depth, strides, padding and channel counts stay, and with
them the receptive field: what the student learns from small crops also holds for large images.

What is compared with prototypes is narrower than a stage: a last 1x1 convolution keeps the leading
directions of the teacher's stage, about the origin, so that scalar products and with them cosines
stay what they are in the whole stage. A third of the channels makes a third of the head's work.

The start comes from the principal components of the teacher's own responses, after Zhang et al.,
"Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from backbone.resnet import BasicBlock, ResNet
from backbone.rounding import Convolution
from torch import Tensor, nn

OUTPUTS = {"layer1": 32, "layer2": 64, "layer3": 64}  # channels of the stages that come out


@dataclass(frozen=True)
class Ranks:
    """Channels between the two halves of each convolution, multiples of 16."""

    stem: int = 16
    layer1: int = 32
    layer2: int = 48
    layer3: int = 64


class LowRank(nn.Module):
    """A KxK convolution to `rank` channels, then 1x1 to `channels`, with a bias."""

    def __init__(self, source: nn.Conv2d, *, rank: int) -> None:
        super().__init__()
        kernel, stride, padding = source.kernel_size[0], source.stride[0], int(source.padding[0])
        # The INT8 graph leaves the convolution of the image alone (`calibrate.precision.convert`).
        kind = nn.Conv2d if source.in_channels == 3 else Convolution
        self.spatial = kind(source.in_channels, rank, kernel, stride, padding, bias=False)
        self.mix = Convolution(rank, source.out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, channels, H / stride, W / stride)."""
        result: Tensor = self.mix(self.spatial(image))
        return result


class SlimBlock(nn.Module):
    """A basic residual block of two low-rank convolutions."""

    def __init__(self, conv1: LowRank, conv2: LowRank, *, downsample: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2
        self.downsample = downsample

    def forward(self, image: Tensor) -> Tensor:
        """(N, C_in, H, W) to (N, channels, H / stride, W / stride)."""
        inner = torch.relu(self.conv1(image))
        return torch.relu(self.conv2(inner) + self.downsample(image))


class SlimResNet(nn.Module):
    """The student: conv1 to layer3 with `Ranks`; all weights random until `start_from`."""

    def __init__(self, ranks: Ranks, *, shape_of: ResNet) -> None:
        super().__init__()
        self.conv1 = LowRank(shape_of.conv1, rank=ranks.stem)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(shape_of.layer1, rank=ranks.layer1)
        self.layer2 = _layer(shape_of.layer2, rank=ranks.layer2)
        self.layer3 = _layer(shape_of.layer3, rank=ranks.layer3)
        layers = (shape_of.layer1, shape_of.layer2, shape_of.layer3)
        widths = [[block.conv2.out_channels for block in _basic_blocks(x)][-1] for x in layers]
        self.heads = nn.ModuleDict(
            {
                name: Convolution(width, channels, 1)
                for (name, channels), width in zip(OUTPUTS.items(), widths, strict=True)
            }
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Stage outputs of a normalised RGB image, (N, 3, H, W) float32.

        Returns:
            ``layer1`` (32 channels, stride 4), ``layer2`` (64, 8) and ``layer3`` (64, 16).
        """
        inner = self.maxpool(torch.relu(self.conv1(image)))
        first = self.layer1(inner)
        second = self.layer2(first)
        stages = {"layer1": first, "layer2": second, "layer3": self.layer3(second)}
        return {name: self.heads[name](stage) for name, stage in stages.items()}

    def head(self, name: str) -> Convolution:
        """The last convolution of one output."""
        head = self.heads[name]
        if not isinstance(head, Convolution):
            raise TypeError(f"heads.{name} is a {type(head).__name__}")
        return head


def _layer(source: nn.Sequential, *, rank: int) -> nn.Sequential:
    blocks = []
    for block in _basic_blocks(source):
        downsample = nn.Sequential()
        if len(block.downsample):
            channels = (block.conv1.in_channels, block.conv1.out_channels)
            downsample.append(Convolution(*channels, 1, block.conv1.stride[0]))
        conv1, conv2 = LowRank(block.conv1, rank=rank), LowRank(block.conv2, rank=rank)
        blocks.append(SlimBlock(conv1, conv2, downsample=downsample))
    return nn.Sequential(*blocks)


def _basic_blocks(layer: nn.Sequential) -> Iterator[BasicBlock]:
    for block in layer:
        if not isinstance(block, BasicBlock):
            raise TypeError(f"{type(block).__name__}: only basic blocks can be made low-rank")
        yield block


def start_from(teacher: ResNet, *, student: SlimResNet, batches: Iterable[Tensor]) -> None:
    """Set the student's weights to the best low-rank fit of the teacher's responses.

    Args:
        teacher: in evaluation mode; its batch norms are folded into the student.
        student: overwritten.
        batches: normalised RGB images, (N, 3, H, W) each.
    """
    pairs = _pairs(teacher, student)
    layers = [getattr(teacher, name) for name in OUTPUTS]
    norms = [norm for _, norm, _ in pairs]
    moments = _response_moments([*norms, *layers], teacher, batches)
    with torch.no_grad():
        for name, (mean, covariance) in zip(OUTPUTS, moments[len(norms) :], strict=True):
            about_origin = covariance + torch.outer(mean.double(), mean.double())
            leading = torch.linalg.eigh(about_origin).eigenvectors[:, -OUTPUTS[name] :]
            _set(student.head(name), leading.T.float()[:, :, None, None], torch.zeros(1))
        for (convolution, norm, target), (mean, covariance) in zip(
            pairs, moments[: len(norms)], strict=True
        ):
            weight, bias = folded(convolution, norm)
            if isinstance(target, nn.Conv2d):
                _set(target, weight, bias)
                continue
            rank = target.spatial.out_channels
            basis = torch.linalg.eigh(covariance).eigenvectors[:, -rank:].float()
            spatial = torch.einsum("or,oihw->rihw", basis, weight)
            target.spatial.weight.copy_(spatial)
            rest = mean - basis @ (basis.T @ mean)
            _set(target.mix, basis[:, :, None, None], basis @ (basis.T @ bias) + rest)


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its batch norm folded in."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def _pairs(
    teacher: ResNet, student: SlimResNet
) -> list[tuple[nn.Conv2d, nn.BatchNorm2d, LowRank | nn.Conv2d]]:
    """(teacher's convolution, its batch norm, student's counterpart), in order of depth."""
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d, LowRank | nn.Conv2d]] = []
    pairs.append((teacher.conv1, teacher.bn1, student.conv1))
    for name in ("layer1", "layer2", "layer3"):
        for old, new in zip(getattr(teacher, name), getattr(student, name), strict=True):
            pairs.append((old.conv1, old.bn1, new.conv1))
            pairs.append((old.conv2, old.bn2, new.conv2))
            if len(old.downsample):
                pairs.append((old.downsample[0], old.downsample[1], new.downsample[0]))
    return pairs


def _response_moments(
    modules: Sequence[nn.Module], teacher: ResNet, batches: Iterable[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Mean (C,) float32 and covariance (C, C) float64 of each module's output."""
    sums: dict[int, list[Tensor]] = {}

    def collect(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rows = output.permute(0, 2, 3, 1).reshape(-1, output.shape[1]).double()
        parts = [torch.tensor(float(len(rows))), rows.sum(0), rows.T @ rows]
        old = sums.get(id(module))
        sums[id(module)] = (
            parts if old is None else [a + b for a, b in zip(old, parts, strict=True)]
        )

    handles = [module.register_forward_hook(collect) for module in modules]
    try:
        with torch.no_grad():
            for batch in batches:
                teacher(batch)
    finally:
        for handle in handles:
            handle.remove()
    moments = []
    for module in modules:
        count, total, square = sums[id(module)]
        mean = total / count
        moments.append((mean.float(), square / count - torch.outer(mean, mean)))
    return moments


def _set(convolution: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    convolution.weight.copy_(weight)
    if convolution.bias is not None:
        convolution.bias.copy_(bias)
