"""The parts of the network against what they stand for, written out the long way."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402

from calibrate.prn.network.attention import MultiSizeSelfAttention, PatchAttention  # noqa: E402
from calibrate.prn.network.decoder import Logit  # noqa: E402
from calibrate.prn.network.fusion import MultiScaleFusion, Up, upsample  # noqa: E402
from calibrate.prn.network.losses import focal_loss, prn_loss  # noqa: E402
from calibrate.prn.network.matching import Matching, residual  # noqa: E402


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_nearest_prototype_is_the_nearest() -> None:
    matching = Matching(9, 5, (8, 6))
    prototypes = random(9, 5, 8, 6, seed=1)
    matching.learn(prototypes)
    features = random(20, 5, 8, 6, seed=2)
    wanted = torch.cdist(features.flatten(1), prototypes.flatten(1)).argmin(dim=1)
    assert torch.equal(matching.nearest(features), wanted)
    assert len(set(wanted.tolist())) > 3
    assert torch.equal(matching(features), prototypes[wanted])


def test_matching_is_float32_whatever_is_around_it() -> None:
    """In bfloat16 two prototypes that differ by a hundredth are the same."""
    matching = Matching(2, 64, (16, 16))
    first = random(64, 16, 16).abs()
    matching.learn(torch.stack([first, first * 1.01]))
    with torch.autocast("cpu", torch.bfloat16):
        found = matching.nearest(torch.stack([first * 1.008, first * 1.002]))
        assert residual(first[None].bfloat16(), matching.prototypes[:1]).dtype == torch.float32
    assert found.tolist() == [1, 0]


def test_up_is_up_sampling_then_1x1() -> None:
    up = Up(6, 3, size=(12, 8))
    coarse = random(2, 6, 3, 2)
    torch.testing.assert_close(up(coarse), up.conv(upsample(coarse, (12, 8))))


def test_fusion_brings_every_scale_to_every_scale() -> None:
    sizes = ((16, 24), (8, 12), (4, 6))
    fusion = MultiScaleFusion((8, 12, 16), sizes)
    scales = [random(1, c, *size) for c, size in zip((8, 12, 16), sizes, strict=True)]
    before = fusion(scales)
    assert [tuple(scale.shape[1:]) for scale in before] == [(8, 16, 24), (12, 8, 12), (16, 4, 6)]
    for changed in range(3):
        after = fusion([scale + (index == changed) for index, scale in enumerate(scales)])
        assert all(not torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_fusion_keeps_what_was_there() -> None:
    fusion = MultiScaleFusion((4, 8), ((8, 8), (4, 4)))
    for parameter in fusion.parameters():
        torch.nn.init.zeros_(parameter)
    scales = [random(1, 4, 8, 8), random(1, 8, 4, 4)]
    for before, after in zip(scales, fusion(scales), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("grid", [1, 2, 4, 8])
def test_attention_is_what_the_paper_writes(grid: int) -> None:
    """Scaled and shifted q, k and v, with nothing merged."""
    batch, channels, height, width = 2, 3, 16, 8
    attention = PatchAttention(channels, (height, width), grid=grid)
    image = random(batch, channels, height, width)
    scales = [1 + 0.3 * random(attention.elements, seed=seed) for seed in (1, 2, 3)]
    biases = [0.3 * random(attention.elements, seed=seed) for seed in (4, 5, 6)]
    rows, columns = height // grid, width // grid
    patches = torch.stack(
        [
            image[:, :, y : y + rows, x : x + columns].flatten(1)
            for y in range(0, height, rows)
            for x in range(0, width, columns)
        ],
        dim=1,
    )
    q, k, v = (patches * scale + bias for scale, bias in zip(scales, biases, strict=True))
    wanted = torch.softmax(q @ k.transpose(1, 2) / attention.elements, dim=-1) @ v

    merged = {
        "value_scale": scales[2],
        "value_bias": biases[2],
        "query_scale": scales[0] * scales[1],
        "query_bias": biases[0] * scales[1],
    }
    with torch.no_grad():
        for name, parameter in attention.named_parameters():
            parameter.copy_(merged[name].reshape(parameter.shape))
        found = attention(image)
    torch.testing.assert_close(found, attention.join(wanted), rtol=1e-4, atol=1e-5)
    assert torch.equal(attention.join(patches), image)


def test_every_weight_of_an_attention_block_learns() -> None:
    block = MultiSizeSelfAttention(6, (8, 8), grids=(1, 2, 4, 8))
    block(random(2, 6, 8, 8)).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_queries_are_too_short_to_overflow() -> None:
    """131 072 terms of float16's size, and yet a finite product."""
    attention = PatchAttention(128, (64, 64), grid=2).half()
    large = torch.full((1, 128, 64, 64), 60.0, dtype=torch.float16)
    assert torch.isfinite(attention(large)).all()


def test_the_logit_is_a_3x3_convolution_of_the_up_sampled_map() -> None:
    logit = Logit(7, source=(12, 16), target=(48, 64))
    torch.nn.init.normal_(logit.bias)
    image = random(2, 7, 12, 16)
    kernel = logit.conv.weight.reshape(3, 3, 7).permute(2, 0, 1)[None]
    wanted = functional.conv2d(upsample(image, (48, 64)), kernel, logit.bias, padding=1)
    torch.testing.assert_close(logit(image), wanted, rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_formula() -> None:
    logits, masks = 3 * random(2, 1, 5, 4), random(2, 5, 4, seed=1) > 0.5
    p, wanted = logits.squeeze(1).sigmoid(), masks.float()
    right = torch.where(masks, p, 1 - p)
    focal = (-0.5 * (1 - right) ** 4 * right.log()).mean()
    smooth = (0.5 * (p - wanted) ** 2).mean()  # |p - y| < beta = 1 everywhere
    torch.testing.assert_close(prn_loss(logits, masks), smooth + 5 * focal)


@pytest.mark.parametrize("logit", [-200.0, -30.0, 30.0, 200.0])
def test_the_loss_is_finite_where_the_sigmoid_is_0_or_1(logit: float) -> None:
    logits = torch.full((1, 1, 2, 2), logit, requires_grad=True)
    masks = torch.tensor([[[True, False], [True, False]]])
    loss = prn_loss(logits, masks)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert focal_loss(logits.detach(), torch.full((1, 1, 2, 2), float(logit > 0))) < 1e-20
