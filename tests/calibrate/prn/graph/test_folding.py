"""Multiplied out, the linear parts of PRN give what the network gives."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.nn import functional  # noqa: E402

from calibrate.prn.graph.folding import Kernel, dense, fold_front  # noqa: E402
from calibrate.prn.network.fusion import upsample  # noqa: E402
from calibrate.prn.network.network import PRN  # noqa: E402
from calibrate.prn.options import Shape  # noqa: E402


def applied(kernel: Kernel, image: torch.Tensor) -> torch.Tensor:
    padding = kernel.weight.shape[-1] // 2
    return functional.conv2d(image, kernel.weight, kernel.bias, kernel.stride, padding)


@given(
    groups=st.sampled_from([1, 2, 4]),
    read=st.integers(1, 3),
    given_=st.integers(1, 3),
    stride=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
)
def test_a_dense_convolution_is_the_grouped_one(groups, read, given_, stride, bias):
    torch.manual_seed(0)
    side = stride + 1
    grouped = torch.nn.Conv2d(
        groups * read,
        groups * given_,
        side,
        stride=stride,
        padding=side // 2,
        groups=groups,
        bias=bias,
    ).double()
    image = torch.randn(2, groups * read, 8, 12, dtype=torch.float64)
    assert torch.allclose(applied(dense(grouped), image), grouped(image), atol=1e-12)


@torch.no_grad()
def test_the_folded_front_is_the_fusions_and_what_narrows_them():
    torch.manual_seed(0)
    shape = Shape(("a", "b", "c"), (8, 12, 20), (64, 96), (2, 2, 2), "compact")
    network = PRN(shape).double().train()
    stages = {
        name: torch.randn(4, channels, *size, dtype=torch.float64)
        for name, channels, size in zip(shape.stages, shape.channels, shape.sizes, strict=True)
    }
    residuals = [stage.square() for stage in stages.values()]
    network.scale.copy_(torch.tensor([0.5, 2.0, 3.0]))
    features = [stage * scale for stage, scale in zip(stages.values(), network.scale, strict=True)]
    pairs = list(
        zip(network.fuse_features(features), network.fuse_residuals(residuals), strict=True)
    )
    joined = [torch.cat(pair, dim=1) for pair in pairs]
    for entry, scale in zip(network.entry, joined, strict=True):
        entry[1].weight.uniform_(0.5, 1.5)
        entry[1].bias.normal_()
        entry(scale)  # the batch norm learns what it must undo
    network.eval()
    for target, kernels in enumerate(fold_front(network)):
        total = torch.zeros(())
        for source, kernel in enumerate(kernels):
            read = torch.cat([stages[shape.stages[source]], residuals[source]], dim=1)
            part = applied(kernel, read)
            total = total + (upsample(part, shape.sizes[target]) if kernel.up else part)
        assert torch.allclose(total, network.entry[target](joined[target]), atol=1e-5)
